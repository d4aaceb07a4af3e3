package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/router"
)

const (
	// appInterval is how often the application is looked at, appTimeout how long
	// it may take to answer then, and appPatience how many times in a row it may
	// fail to before it counts as down. That it refuses a connection counts at once.
	appInterval = time.Second
	appTimeout  = time.Second
	appPatience = 2
)

// beside is the application process beside a node.
type beside struct {
	node    *Node
	address string // as configured; no member's address looks like it
	at      appAddress
	client  http.Client
	api     string // where this node answers it

	down atomic.Bool
	wake wait.Wake // a request was refused
}

// appAddress is -app taken apart.
type appAddress struct {
	network, address string
	tls              *tls.Config // nil for none
}

func parseApp(s string) (appAddress, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); !strings.HasPrefix(path, "/") {
			return appAddress{}, errors.New("must name a socket by its whole path, as unix:/run/app.sock")
		}
		return appAddress{network: "unix", address: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return appAddress{}, errors.New("must be a URL without a path, such as http://127.0.0.1:3000, or unix:/path")
	}
	a := appAddress{network: "tcp", address: u.Host}
	if u.Scheme == "https" {
		a.tls = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	if u.Port() == "" {
		a.address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return a, nil
}

func newBeside(n *Node, publicHTTP string) *beside {
	at, err := parseApp(n.cfg.App)
	if err != nil {
		panic("node: -app was validated and does not parse: " + err.Error())
	}
	a := &beside{node: n, address: n.cfg.App, at: at, api: "http://" + publicHTTP, wake: wait.NewWake()}
	if n.cfg.HTTPUnix != "" {
		a.api = "unix:" + n.cfg.HTTPUnix
	}
	a.client = http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a
}

// headers are added to each request for the application.
func (a *beside) headers() []router.Header {
	if a == nil {
		return nil
	}
	return []router.Header{{Name: header.Node, Value: a.node.id.Name}, {Name: header.API, Value: a.api}}
}

func (a *beside) dial(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	var err error
	if a.at.network == "unix" {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", a.at.address)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", err, syscall.ECONNREFUSED) // its process has not made it yet, or taken it away
		}
	} else {
		conn, err = a.node.cfg.Network.Dial(ctx, a.at.address)
	}
	if err != nil || a.at.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, a.at.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (a *beside) isDown() bool { return a.down.Load() }

// refused is told of a request that found nobody listening.
func (a *beside) refused() {
	a.down.Store(true)
	a.wake.Kick()
}

// watch looks at the application again and again, and tells the cluster when it
// has gone or come back.
func (a *beside) watch(ctx context.Context) {
	failures, told := 0, false
	for {
		err := a.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if failures++; err == nil {
			failures = 0
		}
		if err == nil || failures >= appPatience || errors.Is(err, syscall.ECONNREFUSED) {
			a.down.Store(err != nil)
		}
		if down := a.down.Load(); down != told {
			told = down
			a.tell(down, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-time.After(appInterval):
		}
	}
}

func (a *beside) tell(down bool, why error) {
	if down {
		a.node.log.Warn("the application does not answer; its users go to other nodes", "app", a.address, "error", why)
		a.node.events.Add("app-down", "member", a.node.id.Name)
	} else {
		a.node.log.Info("the application answers", "app", a.address)
		a.node.events.Add("app-up", "member", a.node.id.Name)
	}
	if err := a.node.members.SetAppDown(down); err != nil {
		a.node.log.Error("tell of the application", "error", err)
	}
}

// check looks at the application once.
func (a *beside) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, appTimeout)
	defer cancel()
	if a.node.cfg.AppHealth == "" {
		conn, err := a.dial(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+a.node.cfg.AppHealth, nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s says %s", a.node.cfg.AppHealth, resp.Status)
	}
	return nil
}
