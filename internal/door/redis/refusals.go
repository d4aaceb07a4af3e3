package redis

import (
	"sync/atomic"
	"time"
)

// tellEvery is how many ticks lie between two lines of the log about those that
// were refused. They may be a million a second.
const tellEvery = 60

// refused is one line: what of each kind has been refused since the last one.
type refused struct {
	tick int64 // of the last line
	seen []int64
}

// tellRefusals writes that line, if there is anything to tell. It is the
// watch's.
func (s *Server) tellRefusals(now int64) {
	r, n := &s.refused, &s.counters
	kinds := []struct {
		name  string
		count *atomic.Int64
	}{
		{"wrong_passwords", &n.wrongPasswords},
		{"passwords_not_looked_at", &n.unseenPasswords},
		{"not_authenticated_in_time", &n.unproven},
		{"connections_refused", &n.rejected},
		{"of_these_over_the_limit_of_one_address", &n.crowded},
		{"speaking_http", &n.browsers},
		{"closed_for_their_buffers", &n.evicted},
	}
	if r.seen == nil {
		r.seen, r.tick = make([]int64, len(kinds)), now-tellEvery
	}
	if now-r.tick < tellEvery {
		return
	}
	var attrs []any
	for i, kind := range kinds {
		if count := kind.count.Load(); count > r.seen[i] {
			attrs = append(attrs, kind.name, count-r.seen[i])
			r.seen[i] = count
		}
	}
	addresses, last := s.guesses.remembered(time.Now())
	if len(attrs) == 0 {
		return
	}
	if addresses > 0 {
		attrs = append(attrs, "addresses_with_wrong_passwords", addresses, "last", last)
	}
	r.tick = now
	s.cfg.Log.Warn("redis: refused clients", attrs...)
}
