package upstream

import (
	"context"
	"hash/maphash"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// mostEnding bounds the keys that wait to be deleted.
	mostEnding = 1 << 16
	// endFor is how long the delete of one is tried, and endTime how long one
	// try may take.
	endFor  = 10 * time.Minute
	endTime = time.Second
	// retryMin and retryMax bound the pause after one that failed.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// lastTime bounds the deletes that are done when the node stops.
	lastTime = time.Second
	// filterBits is the size of the filter of what is never asked for again: a
	// megabyte. With 100,000 keys in it one question of a hundred is not asked.
	filterBits = 1 << 23
)

// ends are the keys whose sessions have ended here and that are to be deleted
// at Redis.
type ends struct {
	waiting map[string]time.Duration // since when
	queue   []string                 // of those waiting: all but the ones that are being deleted
	never   *[filterBits / 64]uint64 // a filter of those given up; nil while there are none
	seed    maphash.Seed
}

func newEnds() ends {
	return ends{waiting: make(map[string]time.Duration), seed: maphash.MakeSeed()}
}

// has says whether a key has ended here, and may still be at Redis.
func (e *ends) has(key string) bool {
	if _, ok := e.waiting[key]; ok {
		return true
	}
	if e.never == nil {
		return false
	}
	bit := maphash.String(e.seed, key) % filterBits
	return e.never[bit/64]&(1<<(bit%64)) != 0
}

// add has a key deleted, unless it waits for that already, and says whether
// there was room for it.
func (e *ends) add(key string, now time.Duration) bool {
	if _, ok := e.waiting[key]; ok {
		return true
	}
	if len(e.waiting) >= mostEnding {
		e.giveUp(key)
		return false
	}
	key = strings.Clone(key) // it may be part of a session
	e.waiting[key] = now
	e.queue = append(e.queue, key)
	return true
}

// giveUp puts a key into the filter.
func (e *ends) giveUp(key string) {
	delete(e.waiting, key)
	if e.never == nil {
		e.never = new([filterBits / 64]uint64)
	}
	bit := maphash.String(e.seed, key) % filterBits
	e.never[bit/64] |= 1 << (bit % 64)
}

// next takes some keys off the queue.
func (e *ends) next() []string {
	keys := e.queue[:min(len(e.queue), mostKeys)]
	if e.queue = e.queue[len(keys):]; len(e.queue) == 0 {
		e.queue = nil // gives the memory back
	}
	return keys
}

// Ended says that the session under key has ended here: it is deleted at Redis
// too, and not asked for until that is done. It does not block.
func (u *Upstream) Ended(key string) {
	if !u.note(key) {
		u.count.deleteDropped.Add(1)
	}
	u.wake.Kick()
}

// note has a key deleted at Redis, and what is asked of it at this moment left
// alone. It says whether there was room for it.
func (u *Upstream) note(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.flights[key]; f != nil {
		f.ended = true
	}
	return u.ends.add(key, u.cfg.Clock.Since())
}

// Run deletes at Redis what has ended here, until ctx ends; then what is left,
// for a moment.
func (u *Upstream) Run(ctx context.Context) {
	for pause := retryMin; ctx.Err() == nil; {
		switch keys := u.takeEnds(); {
		case len(keys) == 0:
			select {
			case <-ctx.Done():
			case <-u.wake:
			}
		case u.endThere(ctx, keys):
			pause = retryMin
		default:
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, retryMax)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	for keys := u.takeEnds(); len(keys) > 0 && u.endThere(last, keys); keys = u.takeEnds() {
	}
	if left := u.Stats().Ending; left > 0 {
		u.cfg.Log.Warn("sessions that have ended here could not be deleted at the old Redis", "address", u.source.Addr, "keys", left)
	}
}

func (u *Upstream) takeEnds() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ends.next()
}

// endThere deletes keys at Redis, and says whether it has answered for all of
// them. Those for which it has not go to the end of the queue. A delete that is
// under way when ctx ends is waited for.
func (u *Upstream) endThere(ctx context.Context, keys []string) bool {
	limit := endTime
	if until, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(until))
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	pipe := u.client.Load().Pipeline()
	answers := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.Del(call, key)
	}
	_, _ = pipe.Exec(call) // each command has its own error
	var failed error
	for i, key := range keys {
		if err := answers[i].Err(); err != nil {
			failed = err
			u.endLater(key)
			continue
		}
		u.count.deleted.Add(1)
		u.mu.Lock()
		delete(u.ends.waiting, key)
		u.mu.Unlock()
	}
	if failed == nil {
		return true
	}
	if redis.HasErrorPrefix(failed, "MOVED") {
		u.becomeCluster()
	}
	u.cfg.Log.Debug("delete at the old Redis", "address", u.source.Addr, "error", reason(failed, limit))
	return false
}

// endLater has a key tried again whose delete has failed, or gives it up.
func (u *Upstream) endLater(key string) {
	u.count.deleteFailed.Add(1)
	u.mu.Lock()
	late := u.cfg.Clock.Since()-u.ends.waiting[key] > endFor
	if late {
		u.ends.giveUp(key)
	} else {
		u.ends.queue = append(u.ends.queue, key)
	}
	u.mu.Unlock()
	if late {
		u.count.deleteDropped.Add(1)
	}
}
