package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/router"
)

const (
	// interval is how often the sidecar is looked at, timeout how long it may
	// take to answer then, and patience how many times in a row it may fail to
	// before it counts as down. That it refuses a connection counts at once.
	interval = time.Second
	timeout  = time.Second
	patience = 2
)

// SidecarConfig is what a Sidecar needs of its member. All fields are required,
// unless they say otherwise.
type SidecarConfig struct {
	Self member.ID
	// At is where the application listens, as CheckAddress takes it.
	At string
	// Health is the path that it answers with 2xx or 3xx while it is well.
	// Optional; it is well then while it takes connections.
	Health string
	// API is what it is told of where this node answers: http://host:port or
	// unix:/path.
	API string
	// Dial connects to a TCP address.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Tell tells the other members whether it is down.
	Tell   func(down bool) error
	Log    *slog.Logger
	Events *events.Log
}

// Sidecar is the application process next to a node. A nil Sidecar is none.
type Sidecar struct {
	cfg    SidecarConfig
	at     address
	client http.Client

	down atomic.Bool
	wake wait.Wake // a request was refused
}

// NewSidecar returns the sidecar of a node. [Pin.Watch] looks at it.
func NewSidecar(cfg SidecarConfig) (*Sidecar, error) {
	at, err := parse(cfg.At)
	if err != nil {
		return nil, fmt.Errorf("-app %q: %w", cfg.At, err)
	}
	s := &Sidecar{cfg: cfg, at: at, wake: wait.NewWake()}
	s.client = http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// Address is the sidecar's as configured; no member's looks like it.
func (s *Sidecar) Address() string { return s.cfg.At }

// Headers are added to each request for the sidecar.
func (s *Sidecar) Headers() []router.Header {
	return []router.Header{{Name: header.Node, Value: s.cfg.Self.Name}, {Name: header.API, Value: s.cfg.API}}
}

// Dial connects to the sidecar.
func (s *Sidecar) Dial(ctx context.Context) (net.Conn, error) {
	var conn net.Conn
	var err error
	if s.at.network == "unix" {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", s.at.address)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", err, syscall.ECONNREFUSED) // its process has not made it yet, or taken it away
		}
	} else {
		conn, err = s.cfg.Dial(ctx, s.at.address)
	}
	if err != nil || s.at.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, s.at.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// Down says whether there is a sidecar that does not answer.
func (s *Sidecar) Down() bool { return s != nil && s.down.Load() }

// Refused is told of a request that found nobody listening.
func (s *Sidecar) Refused() {
	s.down.Store(true)
	s.wake.Kick()
}

// watch looks at the sidecar again and again, and tells the cluster when it has
// gone or come back. It ends with ctx.
func (s *Sidecar) watch(ctx context.Context) {
	failures, told := 0, false
	for {
		err := s.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if failures++; err == nil {
			failures = 0
		}
		if err == nil || failures >= patience || errors.Is(err, syscall.ECONNREFUSED) {
			s.down.Store(err != nil)
		}
		if down := s.down.Load(); down != told {
			told = down
			s.tell(down, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(interval):
		}
	}
}

func (s *Sidecar) tell(down bool, why error) {
	if down {
		s.cfg.Log.Warn("the application does not answer; its users go to other nodes", "app", s.cfg.At, "error", why)
		s.cfg.Events.Add("app-down", "member", s.cfg.Self.Name)
	} else {
		s.cfg.Log.Info("the application answers", "app", s.cfg.At)
		s.cfg.Events.Add("app-up", "member", s.cfg.Self.Name)
	}
	if err := s.cfg.Tell(down); err != nil {
		s.cfg.Log.Error("tell of the application", "error", err)
	}
}

// check looks at the sidecar once.
func (s *Sidecar) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.cfg.Health == "" {
		conn, err := s.Dial(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+s.cfg.Health, nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s says %s", s.cfg.Health, resp.Status)
	}
	return nil
}
