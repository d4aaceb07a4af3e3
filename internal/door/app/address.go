package app

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
)

// address is where a sidecar listens.
type address struct {
	network, address string
	tls              *tls.Config // nil for none
}

// CheckAddress says what is wrong with the address of a sidecar, which is
// http://host:port, https://host:port or unix:/path.
func CheckAddress(s string) error {
	_, err := parse(s)
	return err
}

func parse(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); !strings.HasPrefix(path, "/") {
			return address{}, errors.New("must name a socket by its whole path, as unix:/run/app.sock")
		}
		return address{network: "unix", address: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return address{}, errors.New("must be a URL without a path, such as http://127.0.0.1:3000, or unix:/path")
	}
	a := address{network: "tcp", address: u.Host}
	if u.Scheme == "https" {
		a.tls = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	if u.Port() == "" {
		a.address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return a, nil
}
