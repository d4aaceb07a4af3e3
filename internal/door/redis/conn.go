package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/hangup"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

const (
	// flushAt sends what has been answered before a long pipeline is through.
	flushAt = 64 << 10
	// keepOutput is what a connection keeps of its output buffer.
	keepOutput = 2 * flushAt
	// lookAhead is how many commands of a pipeline are cut out before the first
	// of them is run.
	lookAhead = 32
)

// conn is one client. What has no word on it is its own goroutine's.
type conn struct {
	server *Server
	net    net.Conn
	origin string // see guesses
	id     int64
	born   int64 // in ticks

	// ctx ends with the connection: what it has asked for is done for nobody
	// then.
	ctx    context.Context
	cancel context.CancelFunc

	in      *resp.Reader
	out     resp.Reply // answers that are not sent yet
	behind  int        // commands that are cut out, and come after the one that is run
	count   int64      // commands since the last flush
	errors  int64      // of these, answered with an error
	closing bool       // nothing further is read
	replies replyMode

	batch   command.Batch // of the command that is running
	one     [1][][]byte   // its commands, if it is one
	ahead   []string      // the keys of prefetch
	tx      transaction
	watches []command.Watch
	written partitions // since the last WAIT

	holder     *buffers.Holder // of all that the connection holds
	counted    int64           // bytes taken from it by account and room
	watchBytes int             // of watches
	lent       atomic.Int64    // bytes taken from it for the command that runs
	subs       subscriptions
	learnt     learnt // how the client knows the ring: see moved
	foreign    bool   // it has asked for another database and not come back: see choose

	authenticated atomic.Bool  // read by the server's watch, as is what follows
	stranger      atomic.Int64 // tick since which it is not authenticated
	subscribed    atomic.Bool  // to something
	busy          atomic.Bool  // with a turn
	step          atomic.Int64 // commands begun
	due           atomic.Bool  // answers are to be sent before the turn is over
	active        atomic.Int64 // tick of the last read
	writing       atomic.Int64 // tick at which a write began, -1 between writes

	line     *hangup.Detector // the watch's, as is what follows
	lastStep int64            // at the look before, -1 if it was not busy

	trimmed int64 // the tick of the last read before the last wake

	mu      sync.Mutex // guards what follows
	public  public
	watched *queue // subs.queue, for the watch
	stopped bool   // nothing further is to be read
	woken   bool   // reads fail once, by wake
}

// public is what CLIENT LIST shows of a connection to others.
type public struct {
	name, library, version string
	proto                  int
	channels, patterns     int
	queued                 int // in MULTI, -1 without
	last                   string
}

// replyMode is what CLIENT REPLY sets.
type replyMode byte

const (
	replyOn replyMode = iota
	replyOff
	replySkip // not the next one
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, net: nc, origin: origin(nc.RemoteAddr()), born: s.ticks.Load()}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.line, c.lastStep, c.trimmed = hangup.New(nc), -1, -1
	c.public = public{proto: 2, queued: -1}
	c.out.Proto = 2
	c.in = resp.NewReader(nc, resp.Anonymous())
	c.in.SetRoom(c.room)
	c.holder = s.cfg.Buffers.Open(c.evict)
	c.active.Store(c.born)
	c.stranger.Store(c.born)
	c.writing.Store(-1)
	if s.cfg.Password == "" {
		c.admitted()
	}
	return c
}

// admitted gives the client the limits of those that have authenticated.
func (c *conn) admitted() {
	c.authenticated.Store(true)
	c.in.SetLimits(c.server.cfg.limits())
}

func (c *conn) serve() {
	defer c.server.forget(c)
	defer c.end()
	defer c.recover()
	for c.turn() {
	}
}

// turn answers all that has come and waits for more. It returns false when the
// connection is through.
func (c *conn) turn() bool {
	c.busy.Store(true)
	c.runBuffered()
	c.batch.Key = "" // it lies in the reader's buffer
	if err := c.flush(); err != nil || c.closing || !c.account() {
		return false
	}
	c.busy.Store(false)
	switch err := c.in.Fill(); {
	case err == nil:
	case errors.Is(err, resp.ErrNoRoom):
		c.overfull()
		_ = c.flush() // the connection ends in any case
		return false
	case c.wasWoken(err):
		c.trim()
		return c.account()
	default:
		return false // whatever it is, there is nobody to tell
	}
	c.active.Store(c.server.ticks.Load())
	return true
}

func (c *conn) runBuffered() {
	for !c.closing {
		n := lookAhead
		if !c.authenticated.Load() {
			n = 1 // what follows AUTH has other limits
		}
		commands, err := c.in.Several(n)
		if err != nil {
			c.refuse(err)
			return
		}
		if len(commands) == 0 {
			return
		}
		c.prefetch(commands)
		for i, args := range commands {
			if c.ctx.Err() != nil { // the client has gone
				c.closing = true
				return
			}
			c.behind = len(commands) - 1 - i
			c.run(args)
			if !c.account() {
				c.overfull()
			}
			if (len(c.out.B) >= flushAt || c.due.Load() && c.due.Swap(false)) && c.flush() != nil {
				c.closing = true
			}
			if c.closing {
				return
			}
		}
	}
}

// prefetch has the memory that a pipeline's commands will look at be brought
// all at once. One after the other, each would wait for its own.
func (c *conn) prefetch(commands [][][]byte) {
	if len(commands) == 1 {
		return
	}
	c.ahead = c.ahead[:0]
	for _, args := range commands {
		if len(args) > 1 {
			c.ahead = append(c.ahead, view(args[1])) // a key with most commands; with others it does no harm
		}
	}
	c.server.cfg.Cluster.Prefetch(c.ahead)
	clear(c.ahead) // they lie in the reader's buffer, which must be free to go
}

// refuse ends a connection that does not speak the protocol.
func (c *conn) refuse(err error) {
	c.closing = true
	c.server.counters.protocolErrors.Add(1)
	if errors.Is(err, resp.ErrHTTP) {
		c.server.counters.browsers.Add(1)
		return
	}
	c.out.Error("ERR " + err.Error())
}

// run answers one command, as far as the client wants to have answers.
func (c *conn) run(args [][]byte) {
	begin, mode := len(c.out.B), c.replies
	c.step.Add(1)
	c.dispatch(args)
	c.count++
	if len(c.out.B) > begin && c.out.B[begin] == '-' {
		c.errors++
	}
	if mode == replyOn && c.replies == replyOn {
		return
	}
	if c.replies == replyOff || mode == replySkip {
		c.out.B = c.out.B[:min(begin, len(c.out.B))] // a subscription has sent what was before it
	}
	if mode == replySkip && c.replies == replySkip {
		c.replies = replyOn
	}
}

var errCutOff = errors.New("cut off")

// flush sends the answers.
func (c *conn) flush() error {
	if c.count > 0 {
		c.server.counters.commands.Add(c.count)
		c.server.counters.errors.Add(c.errors)
		c.count, c.errors = 0, 0
	}
	if len(c.out.B) == 0 {
		return nil
	}
	var err error
	switch {
	case len(c.out.B) > c.server.cfg.OutputLimit:
		c.cutOff("an answer was larger than the output limit")
		err = errCutOff
	case c.subs.queue != nil:
		err = c.subs.queue.replies(c.out.B)
	default:
		err = c.write(c.out.B)
	}
	c.out.B = c.out.B[:0]
	if cap(c.out.B) > keepOutput {
		c.out.B = nil
	}
	return err
}

// write is called by the connection's goroutine or, once it has subscribed, by
// its queue's, never by both.
func (c *conn) write(b []byte) error {
	c.writing.Store(c.server.ticks.Load())
	_, err := c.net.Write(b)
	c.writing.Store(-1)
	return err
}

// cutOff closes a connection that has more to read than it may.
func (c *conn) cutOff(why string) {
	c.server.counters.cutOff.Add(1)
	c.close(why)
}

// close ends the connection from outside, and says why.
func (c *conn) close(why string) {
	c.server.cfg.Log.Info("redis: closed a connection", "client", c.net.RemoteAddr(), "why", why)
	c.hangUp()
}

// hangUp ends the connection and what is done for it. Its goroutines notice.
func (c *conn) hangUp() {
	c.cancel()
	c.net.Close()
}

// end gives back what the connection has. What is queued for it is still sent.
func (c *conn) end() {
	c.unsubscribeAll()
	if q := c.subs.queue; q != nil {
		q.finish()
	}
	c.hangUp()
	c.holder.Close()
}

// stopReading ends the connection after the commands that it has sent.
func (c *conn) stopReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	_ = c.net.SetReadDeadline(longAgo) // fails only if it is closed
}

// recover keeps a bug in one command to the connection that met it.
func (c *conn) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	c.server.counters.panics.Add(1)
	c.server.cfg.Log.Error("redis: panic", "command", c.batch.Name(), "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
}

// show changes what others see of the connection.
func (c *conn) show(change func(p *public)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.public)
}

func (c *conn) shownQueue() *queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched
}

func (c *conn) shown() public {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.public
}
