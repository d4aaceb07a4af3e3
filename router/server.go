package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// server accepts clients' connections and knows those that are open.
type server struct {
	mu        sync.Mutex // guards the rest
	listeners map[net.Listener]struct{}
	clients   map[*client]struct{}
	closed    bool // no more of either
	group     sync.WaitGroup
}

// Serve answers the requests of all who connect to l, until Shutdown or Close,
// when it returns net.ErrClosed, or until l fails.
func (rt *Router) Serve(l net.Listener) error {
	if !rt.server.addListener(l) {
		_ = l.Close() // nothing was accepted on it
		return net.ErrClosed
	}
	defer rt.server.removeListener(l)
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err != nil {
			if rt.closing.Err() != nil || !passes(err) {
				return fmt.Errorf("accept: %w", errors.Join(err, rt.closedBy()))
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-rt.closing.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		if leave, ok := rt.cfg.Admit(conn); ok {
			rt.server.start(newClient(rt, conn), leave)
		}
	}
}

// passes reports whether a failure to accept is over when other connections
// end, or was one client's.
func passes(err error) bool {
	for _, passing := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

func (rt *Router) closedBy() error {
	if rt.closing.Err() != nil {
		return net.ErrClosed
	}
	return nil
}

func (s *server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.listeners == nil {
		s.listeners, s.clients = make(map[net.Listener]struct{}), make(map[*client]struct{})
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *server) removeListener(l net.Listener) {
	_ = l.Close() // it has failed or is closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *server) start(c *client, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.conn.Close() // it came while the server closed
		leave()
		return
	}
	s.clients[c] = struct{}{}
	s.group.Go(func() {
		defer leave()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.clients, c)
		}()
		c.serve()
	})
}

// stop closes the listeners, and the connections on which nothing is under way.
func (s *server) stop() (busy []*client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close() // its Accept tells
	}
	for c := range s.clients {
		c.stopIdle()
		busy = append(busy, c)
	}
	return busy
}

// Shutdown takes no more connections, ends the unused ones and the WebSockets,
// and waits until the requests under way are answered, or ctx ends.
func (rt *Router) Shutdown(ctx context.Context) error {
	rt.server.stop()
	rt.close()
	ended := make(chan struct{})
	go func() {
		rt.server.group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	for _, c := range rt.server.stop() {
		_ = c.conn.Close()
	}
	<-ended
	return ctx.Err()
}
