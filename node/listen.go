package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/seed-95a32959/holdfast/internal/network"
	"github.com/seed-95a32959/holdfast/internal/socket"
)

// listeners are the addresses that a member has opened. Gossip opens its own.
type listeners struct {
	http, resp  []net.Listener
	admin, peer net.Listener // peer is nil on a router
}

// listen opens them all, before anything answers there, and returns what the
// member tells others of itself and of where they reach it.
func listen(ctx context.Context, cfg *Config) (l listeners, own Meta, err error) {
	own = Meta{Role: cfg.Role, State: StateJoining, Pid: os.Getpid(), Zone: cfg.Zone, Params: cfg.ringParams().String(), Wants: cfg.wants}
	if cfg.Role == RoleNode && cfg.Weight != 1 {
		own.Weight = cfg.hundredths()
	}
	tcp := func(field, address string, advertise *string) (opened net.Listener) {
		if err != nil {
			return nil
		}
		if opened, err = cfg.Network.Listen(ctx, address); err != nil {
			err = cannotListen("tcp", field, address, err)
			return nil
		}
		*advertise = network.Advertised(opened.Addr(), cfg.Advertise)
		return opened
	}
	unix := func(field, path string) (opened []net.Listener) {
		if err == nil && path != "" {
			opened, err = listenUnix(ctx, field, path)
		}
		return opened
	}
	l.http = append(l.http, tcp("HTTP", cfg.HTTP, &own.HTTP))
	l.admin = tcp("Admin", cfg.Admin, &own.Admin)
	if cfg.Role == RoleNode {
		l.peer = tcp("Peer", cfg.Peer, &own.Peer)
	}
	l.http = append(l.http, unix("HTTPUnix", cfg.HTTPUnix)...)
	if cfg.Role == RoleNode {
		l.resp = unix("RESPUnix", cfg.RESPUnix)
		if cfg.RESP != "" {
			l.resp = append(l.resp, tcp("RESP", cfg.RESP, &own.RESP))
		}
	}
	if err != nil {
		l.close()
		return listeners{}, Meta{}, err
	}
	return l, own, nil
}

// listenUnix opens the Unix socket that the named field has asked for.
func listenUnix(ctx context.Context, field, path string) ([]net.Listener, error) {
	l, err := socket.Listen(ctx, path)
	switch {
	case errors.Is(err, socket.ErrAbstract), errors.Is(err, socket.ErrFile):
		return nil, &FieldError{Field: field, Value: path, Reason: err.Error(), Err: err}
	case err != nil:
		return nil, cannotListen("unix", field, path, err)
	}
	return []net.Listener{l}, nil
}

// close closes what is open of them. What serves them closes them as well, and
// then it does nothing.
func (l *listeners) close() {
	all := append(append([]net.Listener{l.admin, l.peer}, l.http...), l.resp...)
	for _, opened := range all {
		if opened != nil {
			opened.Close()
		}
	}
}

// cannotListen says what to do about an address, or the path of a Unix socket,
// that the named field has asked for and that could not be opened.
func cannotListen(kind, field, address string, err error) error {
	return &FieldError{Field: field, Value: address, Reason: fmt.Sprintf("cannot listen there: %v; %s", err, network.Hint(kind, err)), Err: err}
}
