package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// attack is one kind of harm that a client or a stranger may try to do.
type attack struct {
	number int
	name   string
	title  string
	share  float64 // that has to be answered in time; 0 means bar
	// least is how long the attack takes at least, for what has to be waited
	// for; 0 means the length that the command line says. leastFull is the same
	// for the full form.
	least, leastFull time.Duration
	// stored says that memory is judged by what the nodes hold, because storing
	// is the attack. Otherwise it is judged by what their processes had
	// resident.
	stored bool
	// leaves says that the attack is clients who leave, so that the nodes must
	// soon have nothing to do for them.
	leaves bool
	setup  setup
	// prepare makes ready what the attack needs, while users ask, unjudged. It
	// may be nil.
	prepare func(ctx context.Context, s *stage) error
	// run attacks until it is done or ctx ends.
	run func(ctx context.Context, s *stage) error
}

func (a attack) bar() float64 {
	if a.share == 0 {
		return bar
	}
	return a.share
}

// Addresses beside those of users.
const (
	attacker = "127.0.0.66"
	guesser  = "127.0.0.68" // of passwords
	uploader = "127.0.0.67" // in the right, though it may be slow
)

// stage is one attack, with its cluster and its users. Its methods are for any
// goroutine.
type stage struct {
	*cluster
	crowd  *crowd
	full   bool
	calmly float64        // cores that the nodes take without an attack
	group  sync.WaitGroup // of what attacks leave running; ended before the next
	// dead is the node that prepareRejoin has killed.
	dead *member

	mu     sync.Mutex // guards what follows
	got    map[string]int
	faults map[string]int
	peaks  []held
}

// held is what a node held at one moment.
type held struct{ counted, heap int64 }

func newStage(c *cluster, full bool) *stage {
	return &stage{cluster: c, full: full, got: make(map[string]int), faults: make(map[string]int)}
}

// saw counts what the attack got for an answer.
func (s *stage) saw(format string, args ...any) { s.count(1, format, args...) }

func (s *stage) count(n int, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[fmt.Sprintf(format, args...)] += n
}

// fault notes that something was answered that must not be, or refused that
// must be served.
func (s *stage) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[fmt.Sprintf(format, args...)]++
}

// weigh notes what every node holds now.
func (s *stage) weigh(ctx context.Context) error {
	for _, m := range s.nodes() {
		if m.process == nil {
			continue
		}
		counted, heap, profile, err := m.held(ctx)
		if err != nil {
			return fmt.Errorf("memory of %s: %w", m.Name, err)
		}
		if heap > s.most().heap { // for whoever wants to know what is in it
			if err := os.WriteFile(filepath.Join(s.dir, "most.heap.pprof"), profile, 0o600); err != nil {
				return err
			}
		}
		s.mu.Lock()
		s.peaks = append(s.peaks, held{counted, heap})
		s.mu.Unlock()
	}
	return nil
}

// most is the most that any node held.
func (s *stage) most() (h held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peaks {
		h.counted, h.heap = max(h.counted, p.counted), max(h.heap, p.heap)
	}
	return h
}

func (s *stage) summary() (got string, faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, n := range s.faults {
		if n > 1 {
			f += fmt.Sprintf(" (%d times)", n)
		}
		faults = append(faults, f)
	}
	slices.Sort(faults)
	return commonest(s.got, 30), faults
}

// watchCPU notes as a fault that the nodes still work for clients that left at
// a moment: two seconds after it they take hardly more than before the attack.
func (s *stage) watchCPU(ctx context.Context, left time.Time) {
	const after, over = 2 * time.Second, 2 * time.Second
	if !nursery.Sleep(ctx, time.Until(left.Add(after))) {
		return
	}
	for _, m := range s.nodes() { // for whoever wants to know what they do then
		s.group.Go(func() { s.profile(ctx, m, over) })
	}
	from, begun := s.cpu(), time.Now()
	if !nursery.Sleep(ctx, over) {
		return
	}
	cores := (s.cpu() - from).Seconds() / time.Since(begun).Seconds()
	s.saw("cores taken when the clients had left: %.2f, before the attack %.2f", cores, s.calmly)
	if busy(cores, s.calmly) {
		s.fault("the nodes work on for clients that left %v ago: %.2f cores, %.2f before the attack; profiles are in %s", after, cores, s.calmly, s.dir)
	}
	s.group.Wait()
}

// profile writes a CPU profile of a node beside its log.
func (s *stage) profile(ctx context.Context, m *member, over time.Duration) {
	text, err := m.fetch(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(over.Seconds())))
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, m.Name+".cpu.pprof"), text, 0o600)
	}
	if err != nil {
		s.saw("no profile of %s: %v", m.Name, err)
	}
}

// busy says whether the nodes take more than they should without an attack.
// Without one they take about a tenth of a core, and what goes on for clients
// that have left would take all that there are.
func busy(cores, calmly float64) bool { return cores > 2*calmly+0.2 }

// each does a task for every item at once, and waits.
func each[T any](items []T, do func(T)) {
	var group sync.WaitGroup
	for _, i := range items {
		group.Go(func() { do(i) })
	}
	group.Wait()
}

const (
	// leaveAfter is how long a client of an attack waits for its answer before
	// it leaves: long enough for all of its request to have been read.
	leaveAfter = 250 * time.Millisecond
	// sendMost is how long it goes on to send.
	sendMost = 5 * time.Second
)

// visit sends bytes from the attacker's address, waits a moment for an answer,
// and leaves. What it got is counted under name.
func (s *stage) visit(name, address string, b []byte, wait time.Duration) {
	l, err := dial(attacker, address)
	if err != nil {
		s.saw("%s: not connected", name)
		return
	}
	defer l.Close()
	if err = l.SetDeadline(time.Now().Add(sendMost)); err == nil {
		_, err = l.Write(b)
	}
	first := make([]byte, 64)
	n := 0
	if err == nil {
		err = l.SetDeadline(time.Now().Add(wait))
	}
	if err == nil {
		n, err = l.Read(first)
	}
	switch {
	case n > 0:
		s.saw("%s: %s", name, opening(string(first[:n])))
	case isTimeout(err):
		s.saw("%s: left unanswered", name)
	default:
		s.saw("%s: closed", name)
	}
}

// opening names an answer by its beginning: the status of HTTP, and of the
// Redis protocol the kind, or the first word of an error.
func opening(text string) string {
	if rest, ok := strings.CutPrefix(text, "HTTP/1.1 "); ok && len(rest) >= 3 {
		return rest[:3]
	}
	if strings.HasPrefix(text, "-") {
		word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		return word
	}
	return "answered"
}
