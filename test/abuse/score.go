package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// What is promised to ordinary users.
const (
	inTime      = 250 * time.Millisecond // within which an answer counts
	bar         = 0.99                   // share that is answered so, beside most attacks
	floodBar    = 0.90                   // beside twelve large requests at once
	memoryBar   = 1.15                   // memory against its limit
	recoveryBar = 2 * time.Second        // until the share is back after an attack
	window      = 500 * time.Millisecond // over which the share is taken for that
)

// errMissed stands for a request that was due while its user still waited for
// the answer to the one before.
var errMissed = errors.New("not sent: the answer before was not there yet")

// errLate stands for a request that was answered correctly, but not in time.
var errLate = fmt.Errorf("correct, but after more than %v", inTime)

// point is one request of an ordinary user.
type point struct {
	at   time.Time // when it was sent, or due
	good bool      // answered, correctly and in time
}

// share is how many of some requests were good.
type share struct{ good, all int }

// ratio is 0 where nothing was asked: no requests are no proof of anything.
func (s share) ratio() float64 {
	if s.all == 0 {
		return 0
	}
	return float64(s.good) / float64(s.all)
}

// String rounds down, so that what misses a bar never looks as if it met it.
func (s share) String() string {
	if s.all == 0 {
		return "none sent"
	}
	return fmt.Sprintf("%d.%d %%", 100*s.good/s.all, 1000*s.good/s.all%10)
}

// shareOf is the share of the requests sent from one moment until before
// another.
func shareOf(points []point, from, to time.Time) (s share) {
	for _, p := range points {
		if !p.at.Before(from) && p.at.Before(to) {
			s.all++
			if p.good {
				s.good++
			}
		}
	}
	return s
}

// recovery is how long after end a window begins in which the share reaches
// the bar. ok is false when none does that ends by until, the moment up to
// which the requests are known.
func recovery(points []point, end, until time.Time) (took time.Duration, ok bool) {
	const step = 50 * time.Millisecond
	for from := end; !from.Add(window).After(until); from = from.Add(step) {
		if shareOf(points, from, from.Add(window)).ratio() >= bar {
			return from.Sub(end), true
		}
	}
	return until.Sub(end), false
}

// score collects the requests of all users. It is for any goroutine.
type score struct {
	mu     sync.Mutex // guards what follows
	points []point
	bad    []complaint
}

type complaint struct {
	at  time.Time
	why string
}

// add notes one request. err is nil for a correct answer.
func (s *score) add(at time.Time, took time.Duration, err error) {
	if err == nil && took > inTime {
		err = errLate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = append(s.points, point{at, err == nil})
	if err != nil {
		s.bad = append(s.bad, complaint{at, err.Error()})
	}
}

func (s *score) share(from, to time.Time) share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return shareOf(s.points, from, to)
}

func (s *score) recovery(end, until time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return recovery(s.points, end, until)
}

// complaints tells the commonest reasons why requests sent from one moment
// until before another were not good.
func (s *score) complaints(from, to time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for _, c := range s.bad {
		if !c.at.Before(from) && c.at.Before(to) {
			n[c.why]++
		}
	}
	return commonest(n, 5)
}

// allLate says whether all requests sent from one moment until before another
// that were not good were answered correctly, but late.
func (s *score) allLate(from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.bad {
		if !c.at.Before(from) && c.at.Before(to) && c.why != errLate.Error() {
			return false
		}
	}
	return true
}

// commonest lists what was counted, the most frequent first.
func commonest(counts map[string]int, most int) string {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	var parts []string
	for i, name := range names {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d other kinds", len(names)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%d× %s", counts[name], name))
	}
	return strings.Join(parts, "; ")
}
