package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// lanes is how many fields the writes of a ledger go round: write k sets
	// field k mod lanes to k. So a lost write stays visible until the field's
	// turn comes again, and is not hidden by the next write.
	lanes = 8
	// remembered bounds the history that is shown with a broken promise.
	remembered = 40
	// unknowns bounds the writes without an answer that are remembered.
	unknowns = 64
)

// ledger is what is known of one session's writes from one writer. Two
// ledgers with different prefixes may write to one session: their fields merge.
type ledger struct {
	key    string
	prefix string // of the field names
	ack    string // replica or async

	writing sync.Mutex // held by the one writer that has a write under way

	mu      sync.Mutex // guards what follows
	tried   int64
	acked   [lanes]int64     // last acknowledged write of each field
	ackedAt [lanes]time.Time // when its answer came
	unknown []int64          // writes whose answer never came: they may take effect at any time, late too
	history []string         // the last ones
}

// floor is what had been acknowledged when a request was sent: what its
// answer must have.
type floor [lanes]int64

// image is a session as an answer shows it.
type image map[string]any

func decodeImage(body []byte) (image, error) {
	var m image
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("not the session that was stored: %.120q: %w", body, err)
	}
	return m, nil
}

func (l *ledger) path() string { return "/v1/sessions/" + l.key }

func (l *ledger) field(lane int) string { return l.prefix + strconv.Itoa(lane) }

// padding makes a session about as large as sessions are.
var padding = strings.Repeat("x", 200)

// creation is the request that stores the session: every field is 0.
func (l *ledger) creation(others ...*ledger) request {
	m := image{"pad": padding}
	for _, o := range append(others, l) {
		for lane := range lanes {
			m[o.field(lane)] = 0
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		panic(err) // numbers and a string
	}
	return request{method: "PUT", path: l.path() + "?ttl=2h", ack: "replica", body: string(body)}
}

// write notes the next write and returns it. The caller holds l.writing and
// calls written with the answer.
func (l *ledger) write(door string) (k int64, r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	k = l.tried
	l.noteLocked("write %d sent to %s", k, door)
	body := fmt.Sprintf(`{"%s":%d}`, l.field(int(k%lanes)), k)
	return k, request{method: "PATCH", path: l.path(), ack: l.ack, body: body}
}

// unsent takes back a write that was not sent.
func (l *ledger) unsent(k int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = k - 1
	l.history = l.history[:len(l.history)-1]
}

func (l *ledger) written(k int64, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked("write %d: %v", k, a)
	switch {
	case a.ok():
		l.acked[k%lanes] = k
		l.ackedAt[k%lanes] = time.Now()
	default:
		// Even an error answer does not say that nothing was done.
		if len(l.unknown) == unknowns {
			l.unknown = l.unknown[1:]
		}
		l.unknown = append(l.unknown, k)
	}
}

func (l *ledger) floor() floor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// judge holds an answer against the floor of its request, and notes what is
// wrong with it. It returns that as text, empty when nothing is.
func (l *ledger) judge(f floor, a answer) (wrong string) {
	err := l.wrong(f, a)
	if err == nil {
		return ""
	}
	l.note("read: %v: %v", a, err)
	return err.Error()
}

// wrong says what is wrong with an answer to a request that was sent when f
// had been acknowledged.
func (l *ledger) wrong(f floor, a answer) error {
	if !a.ok() {
		return fmt.Errorf("not read: %v", a)
	}
	m, err := decodeImage(a.body)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for lane := range lanes {
		v, ok := m[l.field(lane)].(float64)
		n := int64(v)
		switch {
		case !ok:
			return fmt.Errorf("field %s is %v", l.field(lane), m[l.field(lane)])
		case n < f[lane] && !slices.Contains(l.unknown, n):
			return fmt.Errorf("field %s is %d, but write %d had been acknowledged", l.field(lane), n, f[lane])
		case n > l.tried:
			return fmt.Errorf("field %s is %d, but only %d writes were tried", l.field(lane), n, l.tried)
		}
	}
	return nil
}

// lostWrite is an acknowledged write that a session no longer has.
type lostWrite struct {
	write   int64
	ackedAt time.Time
}

// settle compares the session with all that was acknowledged, while nobody
// writes, and returns what is lost. What is lost is then no longer expected,
// so that it is counted once.
func (l *ledger) settle(a answer) (lost []lostWrite, wrong string) {
	wrong = l.judge(l.floor(), a)
	if wrong == "" {
		return nil, ""
	}
	m, err := decodeImage(a.body)
	if err != nil {
		return nil, wrong
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for lane := range lanes {
		v, _ := m[l.field(lane)].(float64)
		if n := int64(v); n < l.acked[lane] {
			lost = append(lost, lostWrite{l.acked[lane], l.ackedAt[lane]})
			l.acked[lane] = n
		}
	}
	return lost, wrong
}

// note adds a line to the session's history.
func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(format, args...)
}

func (l *ledger) noteLocked(format string, args ...any) {
	line := time.Now().Format("15:04:05.000000 ") + fmt.Sprintf(format, args...)
	if len(l.history) == remembered {
		l.history = append(l.history[:0], l.history[1:]...)
	}
	l.history = append(l.history, line)
}

// story is the session's history as text.
func (l *ledger) story() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("session %s, ack=%s, %d writes tried\n    %s", l.key, l.ack, l.tried, strings.Join(l.history, "\n    "))
}
