package explore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// Walk goes one way at random: a World with settings and faults drawn by a
// seed, from a beginning of its own, some hundred steps far. A Search sees all
// that is near; a Walk sees little of what is far, and thousands of them more.
type Walk struct {
	Seed   uint64
	Config Config
	Begin  []string
	Bounds Bounds
	Length int
}

// NewWalk draws a Walk. Most faults do not happen at all on most ways, so that
// those that do meet in all combinations.
func NewWalk(seed uint64) Walk {
	r := rand.New(rand.NewPCG(seed, 0))
	some := func(most int) int {
		if r.IntN(2) == 0 {
			return 0
		}
		return 1 + r.IntN(most)
	}
	w := Walk{Seed: seed, Length: 50 + r.IntN(350), Config: Config{
		Members: 2 + r.IntN(4), Partitions: 1, Mode: ownership.Available, Tick: 250 * time.Millisecond << r.IntN(2), Manual: true, Ordered: r.IntN(2) == 0,
	}}
	if r.IntN(3) > 0 {
		w.Config.Mode = ownership.Majority
	}
	w.Bounds = Bounds{
		Crashes: some(4), Starts: some(5), Drains: some(3), Freezes: some(3), Losses: some(6), Repeats: some(4), Holds: some(3), Cuts: some(3), Halves: some(3),
		Claims: 255, Writes: some(8), Ticks: 250, Leaves: some(3),
	}
	w.Begin = []string{"cluster"}
	names := slices.Sorted(maps.Keys(begins))
	if name := names[r.IntN(len(names))]; r.IntN(2) == 0 && w.Config.Members >= max(3, needs[name]) {
		w.Begin = begins[name]
	}
	return w
}

// needs are how many members a beginning is of, 3 where it is not here.
var needs = map[string]int{"drifted": 5, "grown": 5, "growing": 5}

// weights say how much more often than others a step of a kind is taken.
var weights = map[verb]int{stepDeliver: 8, stepTick: 3, stepView: 4, stepClaim: 3, stepSettle: 2, stepCount: 2, stepBeat: 3, stepResume: 2}

// Run walks, and returns what broke, if something did, with the steps of the
// way that are needed.
func (k Walk) Run() (found *Found, steps int) {
	s := &Search{Plan: Plan{Name: fmt.Sprintf("walk %d", k.Seed), Config: k.Config, Begin: k.Begin, Bounds: k.Bounds}}
	w := s.first()
	r := rand.New(rand.NewPCG(k.Seed, 1))
	most := k.Bounds.bounded()
	var way, options []step
	for len(way) < k.Length {
		options = slices.DeleteFunc(w.steps(options[:0]), func(st step) bool { return most[st.verb] == 0 })
		if len(options) == 0 {
			break
		}
		st := draw(r, options)
		if most[st.verb] != 255 {
			most[st.verb]--
		}
		st.take(w)
		way = append(way, st)
		if broke := w.Check(); len(broke) > 0 {
			return s.shortest(broke[0], way, ""), len(way)
		}
	}
	last := "recover"
	thaw := r.IntN(2) == 0
	if !thaw {
		last = "recover frozen"
	}
	if broke := w.Recover(thaw); len(broke) > 0 {
		return s.shortest(broke[0], way, last), len(way)
	}
	return nil, len(way)
}

// draw takes a kind of step first, so that many messages do not crowd out all
// else, and then one of that kind.
func draw(r *rand.Rand, options []step) step {
	total := 0
	kinds := make(map[verb][]step)
	var order []verb
	for _, st := range options {
		if kinds[st.verb] == nil {
			order = append(order, st.verb)
			total += max(1, weights[st.verb])
		}
		kinds[st.verb] = append(kinds[st.verb], st)
	}
	n := r.IntN(total)
	for _, v := range order {
		if n -= max(1, weights[v]); n < 0 {
			return kinds[v][r.IntN(len(kinds[v]))]
		}
	}
	return options[0]
}

// shortest leaves out of a way what the promise breaks without.
func (s *Search) shortest(v Violation, way []step, last string) *Found {
	for size := len(way) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(way); {
			less := slices.Delete(slices.Clone(way), at, at+size)
			if short, broke := s.breaks(v.Promise, less, last); broke != nil {
				way, v = short, *broke
				continue
			}
			at += size
		}
	}
	return &Found{v, len(way), s.scenario(v, way, last)}
}

// breaks says whether a promise breaks on a way, of which the steps are taken
// that can be.
func (s *Search) breaks(promise string, way []step, last string) (taken []step, broke *Violation) {
	w := s.first()
	is := func(all []Violation) *Violation {
		at := slices.IndexFunc(all, func(v Violation) bool { return v.Promise == promise })
		if at < 0 {
			return nil
		}
		return &all[at]
	}
	for _, st := range way {
		if !slices.Contains(w.steps(nil), st) {
			continue
		}
		st.take(w)
		taken = append(taken, st)
		all := w.Check()
		if v := is(all); v != nil && last == "" {
			return taken, v
		}
		if len(all) > 0 {
			return nil, nil
		}
	}
	if last == "" {
		return nil, nil
	}
	return taken, is(w.Recover(!strings.HasSuffix(last, "frozen")))
}
