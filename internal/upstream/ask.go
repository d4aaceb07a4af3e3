package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// found is a key as Redis has it.
type found struct {
	key, payload string
	end          int64 // unix ms; 0 for never
}

// asked is what became of one question about some keys.
type asked struct {
	found  []found
	absent []string
	failed int
	err    error // of the last that failed
	moved  bool  // it is a cluster, and some key is another node's
}

// ask asks Redis for keys. It returns those that it has, and those that it does
// not have.
func (u *Upstream) ask(ctx context.Context, keys []string) ([]found, []string) {
	u.count.asked.Add(int64(len(keys)))
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	a := u.askOnce(ctx, u.client.Load(), keys)
	if a.moved {
		u.becomeCluster()
		a = u.askOnce(ctx, u.client.Load(), keys)
	}
	u.count.failed.Add(int64(a.failed))
	u.count.absent.Add(int64(len(a.absent)))
	u.answered(a.err)
	return a.found, a.absent
}

// askOnce sends one pipeline. The time that a key has left is counted from
// before the question, so the end comes early by the time of the question at
// most; it needs no clock but this one, and every Redis tells it.
func (u *Upstream) askOnce(ctx context.Context, client redis.UniversalClient, keys []string) (a asked) {
	now := u.cfg.Clock.Now()
	pipe := client.Pipeline()
	values, left := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	for i, key := range keys {
		values[i], left[i] = pipe.Dump(ctx, key), pipe.PTTL(ctx, key)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, key := range keys {
		payload, err := values[i].Result()
		ttl, endErr := left[i].Result()
		if err == nil {
			err = endErr
		}
		switch {
		case errors.Is(err, redis.Nil), err == nil && ttl == -2: // there is none, as redis.DurationCmd says it
			a.absent = append(a.absent, key)
		case err == nil:
			a.found = append(a.found, found{key, payload, endOf(now, ttl)})
		default:
			a.failed, a.err = a.failed+1, err
			a.moved = a.moved || redis.HasErrorPrefix(err, "MOVED")
		}
	}
	return a
}

// endOf is the end, unix ms, of a key that had so much time left; 0 for never.
func endOf(asked time.Time, left time.Duration) int64 {
	if left < 0 {
		return 0
	}
	return asked.Add(left).UnixMilli()
}

// mayAsk says whether Redis is to be asked at this moment.
func (u *Upstream) mayAsk() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.breaker.allows(u.cfg.Clock.Since())
}

// answered takes in whether a question was answered, and says so when that
// changes what happens.
func (u *Upstream) answered(err error) {
	u.mu.Lock()
	opened, closed := u.breaker.heard(u.cfg.Clock.Since(), reason(err, askTime))
	u.mu.Unlock()
	switch {
	case opened:
		u.cfg.Log.Warn("the old Redis does not answer: sessions that are only there are missed", "address", u.source.Addr, "error", reason(err, askTime))
	case closed:
		u.cfg.Log.Info("the old Redis answers again", "address", u.source.Addr)
	}
}

const (
	// failuresToOpen is how many questions in a row fail before none is asked.
	failuresToOpen = 3
	// openFor is how long none is asked then, and how often one tries.
	openFor = time.Second
)

// breaker keeps a Redis that does not answer from being waited for. Its zero
// value lets everything through.
type breaker struct {
	failures int // in a row, failuresToOpen at most
	cause    error
	until    time.Duration // nothing is asked before, if it is open
}

func (b *breaker) open() bool { return b.failures >= failuresToOpen }

// err is why nothing is asked, nil if it is.
func (b *breaker) err() error {
	if b.open() {
		return b.cause
	}
	return nil
}

// allows says whether a question may be asked. When it is open one may from
// time to time, which finds out whether Redis is back.
func (b *breaker) allows(now time.Duration) bool {
	if !b.open() {
		return true
	}
	if now < b.until {
		return false
	}
	b.until = now + openFor
	return true
}

// heard takes in what became of a question, nil for an answer, and says whether
// that has opened or closed it.
func (b *breaker) heard(now time.Duration, err error) (opened, closed bool) {
	was := b.open()
	if err == nil {
		*b = breaker{}
		return false, was
	}
	b.cause = err
	if was {
		return false, false
	}
	if b.failures++; b.open() {
		b.until = now + openFor
	}
	return b.open(), false
}
