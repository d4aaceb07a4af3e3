package router

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// link holds the connections to members in two ways: kept ones, which are cheap but may turn out to be stale, and fresh ones, for
// a request whose kept connection broke or which could not be sent again if it did.
type link struct {
	kept, fresh *http.Transport
}

// newLink makes a link on which a member's answer must begin within answer after the request was sent; 0 means whenever.
func newLink(cfg *Config, answer time.Duration) *link {
	kept := &http.Transport{
		DialContext:           dialer(cfg),
		MaxIdleConnsPerHost:   cfg.IdlePerMember,
		IdleConnTimeout:       cfg.IdleTimeout,
		DisableCompression:    true, // what the client did not ask for is not added, and what it asked for passes through
		ResponseHeaderTimeout: answer,
		ExpectContinueTimeout: time.Second, // then the body is sent unasked, as RFC 9110 section 10.1.1 has it
	}
	fresh := kept.Clone()
	fresh.DisableKeepAlives = true
	return &link{kept: kept, fresh: fresh}
}

func (l *link) close() {
	l.kept.CloseIdleConnections()
	l.fresh.CloseIdleConnections()
}

// dialer bounds the dial in time and marks its errors, for they alone prove that nothing was sent.
func dialer(cfg *Config) func(context.Context, string, string) (net.Conn, error) {
	dial, timeout := cfg.Dial, cfg.DialTimeout
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
}

// dialError is the failure to open a connection.
type dialError struct{ cause error }

func (e *dialError) Error() string { return e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

// nothingSent reports whether err proves that the member has seen nothing of the request.
func nothingSent(err error) bool {
	var dial *dialError
	return errors.As(err, &dial)
}

// refused reports whether a dial was answered by "nobody is here" or "there is no way there". Running out of file descriptors or
// local ports, say, is this process's own trouble and proves nothing about the member.
func refused(err error) bool {
	return nothingSent(err) &&
		(errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH))
}

// silent reports whether the member did not answer in time, neither the dial nor the request.
func silent(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
