package explore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Plan is what a Search tries: how a World begins, and how often what
// may happen.
type Plan struct {
	Name   string
	Config Config
	// Begin are lines of a scenario that lead to the first state.
	Begin  []string
	Bounds Bounds
}

// Search walks through all states that a Plan leads to, breadth first.
type Search struct {
	Plan
	// Until ends the search before all is seen.
	Until time.Time
	// Depth is the most steps of a way, 0 for any.
	Depth int
	// Sample says that one state in so many is looked at for what follows when
	// faults stop. 0 looks at none.
	Sample int
	// Enough says of a promise that broke whether to stop there; nil
	// never stops.
	Enough func(promise string) bool
	// Worlds bounds how many states are kept whole; others are found again by
	// their way.
	Worlds int

	root      *World
	seen      map[uint64]struct{}
	recovered map[uint64]struct{}
	nodes     []node
	next      []open
	most      [verbs]uint8
	buffer    []byte
	result    Result
	enough    bool
}

// node is how a state was reached.
type node struct {
	parent int32
	step   step
}

// open is a state whose steps are still to be tried.
type open struct {
	node  int32
	used  [verbs]uint8
	world *World // nil: find it by its way
}

// Result is what a Search has found.
type Result struct {
	States, Steps int
	// Depth is the longest way all of whose shorter ones were tried.
	Depth int
	// Whole says that there is nothing more to try.
	Whole bool
	// Recoveries is how many states were looked at for what follows.
	Recoveries int
	Took       time.Duration
	// Found has the first violation of each promise.
	Found []Found
}

// Found is a violation and the shortest way to it, as a scenario.
type Found struct {
	Violation
	Steps int
	Way   string
}

// Run searches until all is seen, or the time is up.
func (s *Search) Run() Result {
	began := time.Now()
	s.seen, s.recovered = make(map[uint64]struct{}), make(map[uint64]struct{})
	s.most = s.Bounds.bounded()
	first := s.first()
	s.nodes = []node{{parent: -1}}
	s.seen[s.hash(first, &[verbs]uint8{})] = struct{}{}
	s.check(first, 0)
	now := []open{{world: first}}
	for len(now) > 0 && (s.Depth == 0 || s.result.Depth < s.Depth) && s.level(now) {
		now, s.next = s.next, nil
		s.result.Depth++
	}
	s.result.Whole = len(now) == 0
	s.result.States, s.result.Took = len(s.nodes), time.Since(began)
	return s.result
}

// first is the state that all ways begin with.
func (s *Search) first() *World {
	if s.root != nil {
		return s.root.Clone()
	}
	w := New(s.Config)
	for _, line := range s.Begin {
		if err := w.Do(line); err != nil {
			panic(fmt.Sprintf("plan %s: %s: %v", s.Name, line, err))
		}
		w.number()
	}
	s.root = w
	return w.Clone()
}

// level tries all steps of all states of one depth. It returns false when the
// time is up.
func (s *Search) level(now []open) bool {
	var steps []step
	for k := range now {
		if s.enough || k%64 == 0 && !s.Until.IsZero() && time.Now().After(s.Until) {
			return false
		}
		o := now[k]
		now[k].world = nil // to be forgotten
		if o.world == nil {
			o.world = s.replay(o.node)
		}
		steps = o.world.steps(steps[:0])
		for _, st := range steps {
			if o.used[st.verb] < s.most[st.verb] {
				s.try(o, st)
			}
		}
	}
	return true
}

// try makes one step from a state.
func (s *Search) try(o open, st step) {
	w := o.world.Clone()
	used := o.used
	if s.most[st.verb] != 255 {
		used[st.verb]++
	}
	st.take(w)
	s.result.Steps++
	h := s.hash(w, &used)
	if _, known := s.seen[h]; known {
		return
	}
	s.seen[h] = struct{}{}
	s.nodes = append(s.nodes, node{o.node, st})
	at := int32(len(s.nodes) - 1)
	if !s.check(w, at) {
		return // what follows from it says nothing
	}
	if s.Sample > 0 && h%uint64(s.Sample) == 0 {
		s.recover(w, at)
	}
	next := open{node: at, used: used, world: w}
	if s.Worlds > 0 && len(s.next) >= s.Worlds {
		next.world = nil
	}
	s.next = append(s.next, next)
}

func (s *Search) hash(w *World, used *[verbs]uint8) uint64 {
	s.buffer = append(w.appendTo(s.buffer[:0]), used[:]...)
	return xxhash.Sum64(s.buffer)
}

// check holds a state to what must hold at any moment.
func (s *Search) check(w *World, at int32) bool {
	found := w.Check()
	for _, v := range found {
		s.found(v, at, "")
	}
	return len(found) == 0
}

// recover looks at what follows from a state when faults stop, with those who
// stand still and without.
func (s *Search) recover(w *World, at int32) {
	for _, thaw := range [...]bool{true, false} {
		x := w.Clone()
		x.mend(thaw)
		x.Settledown()
		h := s.hash(x, &[verbs]uint8{})
		if _, known := s.recovered[h]; known {
			continue
		}
		s.recovered[h] = struct{}{}
		s.result.Recoveries++
		last := "recover"
		if !thaw {
			last = "recover frozen"
		}
		for _, v := range x.Recover(thaw) {
			s.found(v, at, last)
		}
	}
}

func (s *Search) found(v Violation, at int32, last string) {
	if slices.ContainsFunc(s.result.Found, func(f Found) bool { return f.Promise == v.Promise }) {
		return
	}
	steps := s.way(at)
	s.enough = s.enough || s.Enough != nil && s.Enough(v.Promise)
	s.result.Found = append(s.result.Found, Found{v, len(steps), s.scenario(v, steps, last)})
}

// way is how a state was reached.
func (s *Search) way(at int32) (steps []step) {
	for ; s.nodes[at].parent >= 0; at = s.nodes[at].parent {
		steps = append(steps, s.nodes[at].step)
	}
	slices.Reverse(steps)
	return steps
}

func (s *Search) replay(at int32) *World {
	w := s.first()
	for _, st := range s.way(at) {
		st.take(w)
	}
	return w
}

// scenario writes a way as a scenario, with its answers.
func (s *Search) scenario(v Violation, steps []step, last string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %v.\n\n%v\n%s\n\n", v, s.Config, strings.Join(s.Begin, "\n"))
	w := s.first()
	for _, st := range steps {
		fmt.Fprintf(&b, "%s\n\n", st.line(w))
		st.take(w)
		w.number()
	}
	if last != "" {
		fmt.Fprintf(&b, "%s\n\n", last)
	}
	b.WriteString("show\n")
	return Play(b.String())
}

// String is the line of a scenario that makes such a World.
func (c Config) String() string {
	s := fmt.Sprintf("members %d", c.Members)
	if c.Partitions > 1 {
		s += fmt.Sprintf(" partitions %d", c.Partitions)
	}
	s += fmt.Sprintf(" %s tick %v", c.Mode, c.Tick)
	if c.Manual {
		s += " manual"
	}
	if c.Ordered {
		s += " ordered"
	}
	if c.Gossip != 0 {
		s += fmt.Sprintf(" gossip %v", c.Gossip)
	}
	return s
}
