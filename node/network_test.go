package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The advice fits the cause, for errors that memberlist has made text of too.
func TestCannotListenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network string
		cause   error
		want    string
	}{
		{"tcp", syscall.EACCES, "permission denied; ports below 1024 need the capability CAP_NET_BIND_SERVICE"},
		{"tcp", syscall.EADDRNOTAVAIL, "cannot assign requested address; give an address of this host"},
		{"tcp", syscall.EADDRINUSE, "address already in use; give an address that is free"},
		{"tcp", errors.New("broken"), "broken; give an address that is free"},
		{"unix", syscall.EACCES, "permission denied; give a path in a directory that this process may write to"},
		{"unix", syscall.ENOENT, "no such file or directory; give a path in a directory that exists"},
		{"unix", syscall.EINVAL, "invalid argument; give a path of 107 bytes at most"},
		{"unix", syscall.EADDRINUSE, "address already in use; give a path that is free"},
	} {
		bind := &net.OpError{Op: "listen", Net: c.network, Err: os.NewSyscallError("bind", c.cause)}
		require.Regexp(t, "^Config.X y: cannot listen there: .*"+c.want+"$", cannotListen(c.network, "X", "y", bind).Error())
		require.ErrorIs(t, cannotListen(c.network, "X", "y", bind), c.cause)
		asText := fmt.Errorf("failed to start: %v", bind)
		require.Regexp(t, "^Config.X y: .*"+c.want+"$", cannotListen(c.network, "X", "y", asText).Error())
	}
}

// 192.0.2.0/24 is for documentation, so no host has an address of it.
func TestListenOnAnAddressOfAnotherHost(t *testing.T) {
	t.Parallel()
	for field, set := range map[string]func(*Config){
		"Config.HTTP": func(c *Config) { c.HTTP = "192.0.2.1:0" }, "Config.Gossip": func(c *Config) { c.Gossip = "192.0.2.1:0" },
	} {
		cfg := loopbackConfig("ada")
		cfg.Insecure = true
		set(&cfg)
		_, err := Start(t.Context(), cfg)
		require.ErrorContains(t, err, field+" 192.0.2.1:0: cannot listen there: ")
		require.ErrorContains(t, err, "; give an address of this host")
	}
	cfg := loopbackConfig("ada")
	cfg.HTTPUnix = filepath.Join(t.TempDir(), "none", "door")
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "directory that exists")
	cfg.HTTPUnix = "/" + strings.Repeat("d", 108)
	_, err = Start(t.Context(), cfg)
	require.ErrorContains(t, err, "107 bytes at most")
}

// An empty host is a wildcard too, which others cannot dial.
func TestAdvertisedGossipAddress(t *testing.T) {
	t.Parallel()
	for _, gossip := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		cfg := loopbackConfig("ada")
		cfg.Gossip, cfg.Advertise, cfg.Insecure = gossip, "127.0.0.1", true
		n := begin(t, cfg)
		agree(t, n)
		require.Regexp(t, `^127\.0\.0\.1:[1-9]`, n.self().Gossip, gossip)
	}
}
