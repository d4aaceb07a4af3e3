package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// worker moves one batch after the other.
type worker struct {
	*Importer
	keys int // that are asked for at a time: fewer where values are large
}

// entry is a key on its way.
type entry struct {
	key, payload string
	end          int64 // unix ms; 0 for never
}

// move brings a batch of keys to an end each. It returns an error if the run
// cannot go on.
func (w *worker) move(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), w.keys)
		if err := w.pace.WaitN(ctx, n); err != nil { // ctx has ended
			return err
		}
		entries, err := w.read(ctx, keys[:n])
		if err != nil {
			return fmt.Errorf("redis: %w", err)
		}
		held := 0
		for first := 0; first < len(entries); {
			bytes, i := 0, first
			for ; i < len(entries) && (i == first || bytes+len(entries[i].payload) <= sendBytes); i++ {
				bytes += len(entries[i].payload)
			}
			if err := w.write(ctx, entries[first:i]); err != nil {
				return fmt.Errorf("holdfast: %w", err)
			}
			first, held = i, held+bytes
		}
		switch keys = keys[n:]; {
		case held > 4*sendBytes:
			w.keys = max(w.keys/2, 1)
		case held < sendBytes:
			w.keys = min(w.keys*2, w.batch)
		}
	}
	return nil
}

// read asks Redis for the values and ends of keys.
func (w *worker) read(ctx context.Context, keys []string) (entries []entry, err error) {
	_, err = patiently(ctx, w.Importer, keys, func(call context.Context, keys []string) (again []string, last error) {
		asked := time.Now()
		pipe := w.from.Pipeline()
		values, ends := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
		for i, key := range keys {
			values[i], ends[i] = pipe.Dump(call, key), w.ends(call, pipe, key)
		}
		_, _ = pipe.Exec(call) // each command has its own error
		for i, key := range keys {
			value, err := values[i].Result()
			end, endErr := ends[i].Result()
			if err == nil {
				err = endErr
			}
			switch {
			case errors.Is(err, redis.Nil), err == nil && end == -2: // there is none, as redis.DurationCmd says it
				w.count(func(t *Tally) { t.Gone++ })
			case err == nil && len(value) > w.largest:
				w.fail(ctx, key, fmt.Errorf("its payload has %d bytes, and %d are accepted (-max-session of the nodes)", len(value), w.largest))
			case err == nil:
				entries = append(entries, entry{key, value, w.endOf(end, asked)})
			case passes(err):
				again, last = append(again, key), fmt.Errorf("DUMP: %w", err)
			case endsRun(err):
				return nil, fmt.Errorf("DUMP: %w", err)
			default:
				w.fail(ctx, key, err)
			}
		}
		return again, last
	})
	return entries, err
}

// endOf is what Redis said of a key's end, as unix ms.
func (w *worker) endOf(said time.Duration, asked time.Time) int64 {
	switch {
	case said < 0: // never
		return 0
	case w.left:
		return asked.Add(said).UnixMilli()
	default:
		// A key without an end is told by 0, so one that ended in 1970 is not.
		return max(said.Milliseconds(), 1)
	}
}

// write gives entries to Holdfast.
func (w *worker) write(ctx context.Context, entries []entry) error {
	option := "NOREVIVE"
	if w.cfg.Replace {
		option = "REPLACE"
	}
	_, err := patiently(ctx, w.Importer, entries, func(call context.Context, entries []entry) (again []entry, last error) {
		pipe := w.to.Pipeline()
		answers := make([]*redis.Cmd, len(entries))
		for i, e := range entries {
			answers[i] = pipe.Do(call, "RESTORE", e.key, e.end, e.payload, "ABSTTL", option)
		}
		_, _ = pipe.Exec(call) // each command has its own error
		var moved, present, deleted int64
		for i, e := range entries {
			switch err := answers[i].Err(); {
			case err == nil:
				moved++
			case redis.HasErrorPrefix(err, "BUSYKEY"):
				present++
			case redis.HasErrorPrefix(err, "DELETEDKEY"):
				deleted++
			case passes(err):
				again, last = append(again, e), fmt.Errorf("RESTORE: %w", err)
			case endsRun(err):
				return nil, fmt.Errorf("RESTORE: %w", err)
			default:
				w.fail(ctx, e.key, err)
			}
		}
		w.count(func(t *Tally) { t.Moved += moved; t.Present += present; t.Deleted += deleted })
		return again, last
	})
	return err
}

// patiently tries items until none is left, and returns those that were left
// when it gave up, with why. try returns those that are to be tried again, with
// why, or an error alone, which is returned. It is given until the timeout of
// one call. The end of ctx breaks off no try, and is the last of them.
func patiently[T any](ctx context.Context, m *Importer, items []T, try func(call context.Context, items []T) (again []T, err error)) ([]T, error) {
	wait := m.cfg.Patience / 128
	for until := time.Now().Add(m.cfg.Patience); ; {
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeout)
		again, err := try(call, items)
		cancel()
		if len(again) == 0 {
			return nil, err
		}
		if len(again) < len(items) { // it moves
			wait, until = m.cfg.Patience/128, time.Now().Add(m.cfg.Patience)
		}
		if items = again; time.Now().After(until) {
			return items, fmt.Errorf("%w (tried again for %v)", m.cfg.reason(err), m.cfg.Patience)
		}
		m.relearn(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return items, context.Cause(ctx)
		case <-timer.C:
		}
		wait = min(2*wait, m.cfg.Patience/16)
	}
}

// passing are the answers after which the same command may do better: a server
// that starts, an owner that is being succeeded, copies that lag behind.
var passing = []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "OOM", "ERR max number of clients"}

// passes reports whether what went wrong may pass.
func passes(err error) bool {
	answer, answered := errors.AsType[redis.Error](err)
	switch {
	case err == nil:
		return false
	case !answered: // the connection broke, or was silent for too long
		return true
	case strings.Contains(answer.Error(), "may or may not have been executed"):
		return true
	}
	for _, prefix := range passing {
		if strings.HasPrefix(answer.Error(), prefix) {
			return true
		}
	}
	return false
}

// endsRun reports whether every other key would be answered alike. Redis says
// NOPERM of a command that the user may not run, and of a single key too.
func endsRun(err error) bool {
	return redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "WRONGPASS") ||
		redis.HasErrorPrefix(err, "NOPERM") && strings.Contains(err.Error(), "to run")
}

// reason adds to an error about a deadline which one it was.
func (cfg Config) reason(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", cfg.Timeout, err)
	}
	return err
}
