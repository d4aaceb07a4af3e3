package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
)

// Server is the Redis door of one node.
type Server struct {
	cfg      Config
	hub      hub
	scripts  scripts
	settings settings
	guesses  guesses
	refused  refused // the watch's
	shards   shardCache
	answers  atomic.Pointer[topologyAnswers]
	confirm  rounds
	announce rounds
	info     infoCache
	sweeps   slots                         // of all keys
	lists    slots                         // of all connections or channels
	told     [ring.Partitions]atomic.Int64 // from which tick on: see tell
	counters counters
	runID    string
	started  time.Time

	// ticks counts the seconds since the start. Connections note it with what
	// they do, so that no command sets a timer: see watch.
	ticks atomic.Int64

	ctx    context.Context // ends when the connections have to
	cancel context.CancelFunc
	group  sync.WaitGroup // every goroutine of the door

	mu        sync.Mutex // guards what follows
	closing   bool
	lastID    int64
	conns     map[int64]*conn
	origins   map[string]int // connections by where they are from
	listeners map[net.Listener]struct{}
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("redis: server closed")

// New returns a door that waits for its listener. It panics if Config.Cluster
// is nil. [Server.Shutdown] ends it, whether it has served or not.
func New(cfg Config) *Server {
	s := &Server{
		cfg: cfg.withDefaults(), runID: newRunID(), started: time.Now(),
		conns: make(map[int64]*conn), origins: make(map[string]int), listeners: make(map[net.Listener]struct{}),
	}
	s.confirm.run = func() { s.cfg.Cluster.Confirm(s.ctx) }
	s.announce.run = func() { s.cfg.Cluster.Listening(s.ctx) }
	s.sweeps, s.lists = make(slots, maxSweeps), make(slots, 1)
	s.lists = make(slots, 1)
	s.settings.init(&s.cfg)
	s.scripts.init()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.group.Go(s.watch)
	if s.cfg.Counters != nil {
		s.cfg.Counters.Func(s.count)
	}
	return s
}

// Serve takes connections from l until Shutdown, and closes it. It returns
// [ErrServerClosed], or why l failed.
func (s *Server) Serve(l net.Listener) error {
	if !s.listen(l) {
		l.Close()
		return ErrServerClosed
	}
	defer s.unlisten(l)
	wait := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			s.ServeConn(c)
			continue
		}
		if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ErrServerClosed
		}
		// Out of file descriptors, say: it passes when a connection ends.
		s.cfg.Log.Warn("redis: accept", "error", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-s.ctx.Done():
			return ErrServerClosed
		}
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[l] = struct{}{}
	}
	return !s.closing
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	l.Close()
}

// ServeConn serves one connection, in a goroutine of its own, and closes it.
func (s *Server) ServeConn(nc net.Conn) {
	c := newConn(s, nc)
	if refusal := s.admit(c); refusal != "" {
		c.cancel()
		c.holder.Close()
		s.counters.rejected.Add(1)
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second)) // a closed connection needs none
		_, _ = nc.Write([]byte(refusal))                     // that it is refused shows without the text
		nc.Close()
		return
	}
}

// admit starts a connection, or says why not.
func (s *Server) admit(c *conn) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return "-ERR server is shutting down\r\n"
	case len(s.conns) >= s.cfg.MaxClients:
		return "-ERR max number of clients reached\r\n"
	case s.origins[c.origin] >= s.cfg.MaxClientsPerAddress && c.origin != unixOrigin:
		s.counters.crowded.Add(1)
		return "-ERR max number of clients of one address reached\r\n"
	}
	s.origins[c.origin]++
	s.lastID++
	c.id = s.lastID
	s.conns[c.id] = c
	s.counters.accepted.Add(1)
	s.group.Go(c.serve)
	return ""
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	if s.origins[c.origin]--; s.origins[c.origin] <= 0 {
		delete(s.origins, c.origin)
	}
}

// all returns the connections in order of age.
func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for _, c := range s.conns {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *conn) int { return int(a.id - b.id) })
	return list
}

// Shutdown takes no further connection, lets each one finish the commands that
// have been read, and waits until all goroutines have ended. When ctx ends it
// breaks what is left off, waits for that, and returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close() // Serve returns by it, whatever it says
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.group.Wait()
		close(done)
	}()
	for _, c := range s.all() {
		if c.authenticated.Load() {
			c.stopReading()
		} else {
			c.hangUp()
		}
	}
	defer s.cancel()
	var err error
	if !s.drained(ctx) {
		err = ctx.Err()
	}
	s.cancel()
	for _, c := range s.all() {
		c.hangUp()
	}
	<-done
	return err
}

// drained waits until there is no connection left, or ctx ends.
func (s *Server) drained(ctx context.Context) bool {
	for {
		if len(s.all()) == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// looksASecond is how often the watch looks for clients that have gone.
const looksASecond = 10

// watch closes the connections that are idle for too long and those that do not
// read, once a second, so that a command costs no timer. More often it looks
// for clients that have gone while one of their commands runs, so that none
// costs a goroutine.
func (s *Server) watch() {
	tick := time.NewTicker(time.Second / looksASecond)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.dropTheGone()
			if looks%looksASecond != 0 {
				continue
			}
			now := s.ticks.Add(1)
			for _, c := range s.all() {
				s.look(c, now)
			}
			s.tellRefusals(now)
		}
	}
}

// dropTheGone ends what is done for clients that have gone. It looks at those
// only whose command has been running since the last time: a quick one is
// answered, and a client may close its half of the connection behind the last.
func (s *Server) dropTheGone() {
	for _, c := range s.slow() {
		if c.line.Gone() {
			s.counters.gone.Add(1)
			c.cancel()
		}
	}
}

// slow returns the connections that are at the same command as at the last
// call.
func (s *Server) slow() (list []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		step := int64(-1)
		if c.busy.Load() && c.ctx.Err() == nil {
			step = c.step.Load()
		}
		if step >= 0 && step == c.lastStep {
			list = append(list, c)
		}
		if step >= 0 && c.lastStep >= 0 {
			// A long pipeline: whoever has closed its half still reads the
			// answers, and to whoever has gone none can be sent, which ends the
			// rest of it.
			c.due.Store(true)
		}
		c.lastStep = step
	}
	return list
}

func (s *Server) look(c *conn, now int64) {
	if since := c.writing.Load(); since >= 0 && over(now-since, s.cfg.WriteTimeout) {
		s.counters.cutOff.Add(1)
		c.close("it did not read what it was sent")
		return
	}
	switch idle := now - c.active.Load(); {
	case !c.authenticated.Load() && over(now-c.stranger.Load(), s.cfg.AuthTimeout):
		s.counters.unproven.Add(1)
		c.hangUp()
	case c.busy.Load():
	case over(idle, s.cfg.IdleTimeout) && !c.subscribed.Load():
		s.counters.idle.Add(1)
		c.close("it was idle for too long")
	case idle >= idleTicks && now-idle != c.trimmed && c.holder.Held() > idleBuffers:
		c.trimmed = now - idle // once for a pause
		c.wake()
	}
	if c.subscribed.Load() {
		c.shownQueue().trim()
	}
}

// over says whether so many ticks are surely longer than a limit, 0 being none.
func over(ticks int64, limit time.Duration) bool {
	return limit > 0 && time.Duration(ticks-1)*time.Second >= limit
}
