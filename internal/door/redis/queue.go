package redis

import (
	"sync"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// queue is what a connection that has subscribed is still to be sent: answers
// and messages, in order. A client that lets it grow over the output limit is
// cut off.
type queue struct {
	conn  *conn
	limit int
	wake  chan struct{} // one slot
	ended chan struct{} // closed when run has returned

	mu    sync.Mutex // guards what follows
	held  int64      // bytes taken from the connection's holder for what is queued
	reply resp.Reply // B is what is queued
	late  resp.Reply // B is what has to wait behind answers that are not queued yet
	gated bool       // messages go to late
	done  bool       // nothing is queued any more
	spare []byte     // B while what was in it is being written
}

func newQueue(c *conn) *queue {
	q := &queue{conn: c, limit: c.server.cfg.OutputLimit, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	q.reply.Proto, q.late.Proto = c.out.Proto, c.out.Proto
	return q
}

func (q *queue) setProto(proto int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reply.Proto, q.late.Proto = proto, proto
}

// push queues a message of about so many bytes, and returns 1 if it did.
func (q *queue) push(size int, write func(r *resp.Reply)) (queued int) {
	taken := q.holds(size)
	if !q.conn.holder.Take(taken) {
		q.fail()
		return 0
	}
	q.mu.Lock()
	overflowed := q.overflowedLocked(size)
	q.held += taken
	if !q.done {
		to := &q.reply
		if q.gated {
			to = &q.late
		}
		write(to)
		queued = 1
	}
	q.mu.Unlock()
	q.after(overflowed)
	return queued
}

// gate keeps messages back until the next answers have been queued, so that a
// subscriber is told that it is one before it gets the first.
func (q *queue) gate() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gated = true
}

// replies queues answers, and behind them what the gate has kept back.
func (q *queue) replies(b []byte) error {
	taken := q.holds(len(b))
	if !q.conn.holder.Take(taken) {
		q.fail()
		return errCutOff
	}
	q.mu.Lock()
	overflowed := q.overflowedLocked(len(b))
	q.held += taken
	done := q.done
	if !done {
		q.reply.B = append(append(q.reply.B, b...), q.late.B...)
	}
	q.late.B, q.gated = nil, false
	q.mu.Unlock()
	q.after(overflowed)
	if done {
		return errCutOff
	}
	return nil
}

// holds is about what so many queued bytes take: a buffer that grows is a
// quarter larger than what is in it, and a message has its frame.
func (q *queue) holds(size int) int64 { return int64(size) + int64(size)/4 + messageFrame }

// messageFrame is what a message takes beside its parts, in bytes.
const messageFrame = 64

// fail ends a queue whose connection holds too much, and says so once.
func (q *queue) fail() {
	q.mu.Lock()
	overflowed := !q.done
	q.done, q.reply.B, q.late.B = true, nil, nil
	q.mu.Unlock()
	q.after(overflowed)
}

// trim gives back what an empty queue holds.
func (q *queue) trim() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.reply.B) == 0 && len(q.late.B) == 0 {
		q.reply.B, q.late.B, q.spare = nil, nil, nil
	}
}

// overflowedLocked ends a queue that cannot take so many bytes more, and says
// so once.
func (q *queue) overflowedLocked(size int) bool {
	if q.done || len(q.reply.B)+len(q.late.B)+size <= q.limit {
		return false
	}
	q.done, q.reply.B, q.late.B = true, nil, nil
	return true
}

func (q *queue) after(overflowed bool) {
	if overflowed {
		q.conn.cutOff("it did not read its messages")
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// finish lets what is queued be sent, and waits for that.
func (q *queue) finish() {
	q.mu.Lock()
	q.done = true
	q.mu.Unlock()
	q.after(false)
	<-q.ended
}

// run sends what is queued until the queue is finished or the connection
// broken.
func (q *queue) run() {
	defer close(q.ended)
	for range q.wake {
		b, held, done := q.take()
		var err error
		if len(b) > 0 {
			err = q.conn.write(b)
		}
		q.conn.holder.Give(held)
		if err != nil {
			q.breakOff()
			return
		}
		if done {
			return
		}
	}
}

// take returns what is queued, and what is to be given back for it. The bytes
// are the caller's until the next take.
func (q *queue) take() (b []byte, held int64, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b, held, q.held = q.reply.B, q.held, 0
	q.reply.B = q.spare[:0]
	if q.spare = b; cap(b) > keepOutput {
		q.spare = nil
	}
	return b, held, q.done
}

// breakOff throws away what comes for a connection that is broken.
func (q *queue) breakOff() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.done, q.reply.B, q.spare = true, nil, nil
}
