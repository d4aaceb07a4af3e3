package explore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// Play runs a scenario and returns it with the answers that there were. A
// scenario is blocks of commands, each with its answer behind ---, and
// comments:
//
//	# What is shown.
//
//	members 3
//	cluster
//	---
//	0 is served by amy
//
//	freeze amy
//	tick 1s
//	---
//	amy stands still
//
// What does not hold after a block is told at the end of its answer. See
// commands for what there is.
func Play(text string) string {
	var out []string
	var w *World
	for block := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		if end := slices.Index(lines, "---"); end >= 0 {
			lines = lines[:end]
		}
		var answer strings.Builder
		for _, line := range lines {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			w = play(w, line, &answer)
		}
		block = strings.Join(lines, "\n")
		if said := answer.String(); said != "" {
			block += "\n---\n" + strings.TrimRight(said, "\n")
		}
		out = append(out, block)
	}
	return strings.Join(out, "\n\n") + "\n"
}

// play runs one line, which may make the World.
func play(w *World, line string, answer *strings.Builder) *World {
	args := strings.Fields(line)
	if args[0] == "members" {
		cfg, err := parseConfig(args[1:])
		if err != nil {
			fmt.Fprintf(answer, "%v\n", err)
		}
		return New(cfg)
	}
	if w == nil {
		fmt.Fprintln(answer, "members comes first")
		return nil
	}
	w.log = answer
	if err := w.Do(line); err != nil {
		w.sayf("%v", err)
	}
	w.number()
	for _, v := range w.Check() {
		w.sayf("VIOLATION of %v", v)
	}
	w.log = nil
	return w
}

// parseConfig reads what stands behind members: "3 [partitions 2] [majority]
// [manual] [ordered] [tick 250ms] [gossip 1s]".
func parseConfig(args []string) (cfg Config, err error) {
	cfg = Config{Members: 3, Partitions: 1, Mode: ownership.Available, Tick: 250 * time.Millisecond}
	for i := 0; i < len(args) && err == nil; i++ {
		switch args[i] {
		case "majority":
			cfg.Mode = ownership.Majority
		case "available":
		case "manual":
			cfg.Manual = true
		case "ordered":
			cfg.Ordered = true
		case "gossip":
			i++
			cfg.Gossip, err = time.ParseDuration(at(args, i))
		case "partitions":
			i++
			cfg.Partitions, err = strconv.Atoi(at(args, i))
		case "tick":
			i++
			cfg.Tick, err = time.ParseDuration(at(args, i))
		default:
			cfg.Members, err = strconv.Atoi(args[i])
		}
	}
	cfg.Members = min(max(cfg.Members, 1), maxMembers)
	cfg.Partitions = min(max(cfg.Partitions, 1), maxPartitions)
	return cfg, err
}

func at(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// commands are what a line of a scenario can say. Members are named; what
// stands in brackets can be left out.
var commands = map[string]func(w *World, args []string) error{
	"cluster":  func(w *World, _ []string) error { w.Cluster(); return w.show(nil) }, // all run, and have for long
	"start":    doStart,                                                              // start MEMBER … [at MEMBER]: it knows what that one knows, or the last one
	"ready":    each(func(w *World, i int) error { return w.Become(i, member.StateReady) }),
	"drain":    each(func(w *World, i int) error { return w.Become(i, member.StateLeaving) }),
	"leave":    each(func(w *World, i int) error { return w.End(i, true) }), // end with a good-bye
	"crash":    each(func(w *World, i int) error { return w.End(i, false) }),
	"freeze":   each((*World).Freeze),
	"resume":   each((*World).Resume),
	"notice":   each((*World).Notice), // find out that it stood still
	"claim":    each((*World).Claim),
	"view":     doView,                                                                        // view MEMBER|all [MEMBER [unknown|up|joining|leaving|dead|refused|left]]: learn the truth, or that
	"settle":   two(func(w *World, i, epoch int) error { return w.Settle(i, uint64(epoch)) }), // settle MEMBER EPOCH: without those that are missing
	"count":    each((*World).Count),                                                          // the votes of a proposal, without those that are missing
	"messages": func(w *World, _ []string) error { w.say(w.Messages()); return nil },
	"deliver":  doDeliver, // deliver NUMBER …|all: in that order
	"lose":     numbered(func(w *World, m *message) { w.take(m) }),
	"repeat":   numbered(func(w *World, m *message) { w.arrive(m) }), // deliver, and keep it for another time
	"hold":     two(func(w *World, i, j int) error { w.Stall(i, j); return nil }),
	"release":  two(func(w *World, i, j int) error { w.Release(i, j); return nil }),
	"cut":      doCut, // cut MEMBER …: from all others
	"heal":     func(w *World, _ []string) error { w.Heal(); return nil },
	"tick":     doTick, // tick DURATION
	"beat":     two(func(w *World, i, j int) error { w.Beat(i, j); return nil }),
	"ask":      each(func(w *World, i int) error { w.say(w.Ask(i) + "\n"); return nil }),
	"write":    doWrite, // write MEMBER [PARTITION] [async]
	"read":     parted(func(w *World, i, part int) error { w.sayf("%s", w.Read(i, part)); return nil }),
	"fetch":    parted((*World).Fetch),
	"handover": parted((*World).HandOver),
	"repair":   doRepair,                                                                              // repair MEMBER HOLDER [PARTITION]
	"busy":     parted(func(w *World, i, part int) error { w.edit(i).busy |= 1 << part; return nil }), // an operation holds it
	"idle":     parted(func(w *World, i, part int) error { w.edit(i).busy &^= 1 << part; return nil }),
	"forge":    doForge,                                                         // forge FROM TO EPOCH: a claim of partition 0
	"calm":     func(w *World, _ []string) error { w.Settledown(); return nil }, // all that can happen at once
	"recover":  doRecover,                                                       // recover [frozen]: let faults stop; who stands still may go on doing so
	"show":     (*World).show,
}

// Do runs one line of a scenario.
func (w *World) Do(line string) error {
	args := strings.Fields(line)
	f := commands[args[0]]
	if f == nil {
		return fmt.Errorf("%s: %w", args[0], errUnknown)
	}
	return f(w, args[1:])
}

func (w *World) say(s string) {
	if s != "" && w.log != nil {
		w.log.WriteString(strings.TrimRight(s, "\n") + "\n")
	}
}

// seed is who tells a member that starts of the others: the last that runs, for
// it is the one that knows most of those that started.
func (w *World) seed(i int) int {
	for j := w.cfg.Members - 1; j >= 0; j-- {
		if j != i && w.procs[j].running() && w.linked(i, j) {
			return j
		}
	}
	return i
}

func (w *World) named(name string) (int, error) {
	i := slices.Index(Names[:w.cfg.Members], name)
	if i < 0 {
		return 0, fmt.Errorf("member %q: %w", name, errUnknown)
	}
	return i, nil
}

// each runs f for every member that is named.
func each(f func(w *World, i int) error) func(*World, []string) error {
	return func(w *World, args []string) error {
		for _, name := range args {
			i, err := w.named(name)
			if err == nil {
				err = f(w, i)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// two runs f for a member and another one or a number.
func two(f func(w *World, i, j int) error) func(*World, []string) error {
	return func(w *World, args []string) error {
		i, err := w.named(at(args, 0))
		if err != nil {
			return err
		}
		j, err := strconv.Atoi(at(args, 1))
		if err != nil {
			j, err = w.named(at(args, 1))
		}
		if err != nil {
			return err
		}
		return f(w, i, j)
	}
}

// parted runs f for a member and a partition, 0 if none is given.
func parted(f func(w *World, i, part int) error) func(*World, []string) error {
	return func(w *World, args []string) error {
		if len(args) < 2 {
			args = append(slices.Clone(args), "0")
		}
		return two(f)(w, args)
	}
}

// numbered runs f for each message whose number is given.
func numbered(f func(w *World, m *message)) func(*World, []string) error {
	return func(w *World, args []string) error {
		for _, arg := range args {
			n, err := strconv.Atoi(arg)
			at := slices.IndexFunc(w.msgs, func(m *message) bool { return m.num == n })
			if err != nil || at < 0 {
				return fmt.Errorf("message %s: %w", arg, errUnknown)
			}
			f(w, w.msgs[at])
		}
		return nil
	}
}

func doDeliver(w *World, args []string) error {
	if at(args, 0) == "all" {
		for w.deliverAll() {
		}
		return nil
	}
	var err error
	return cmpErr(numbered(func(w *World, m *message) {
		if !w.mayArrive(m) {
			err = fmt.Errorf("message %d: %w", m.num, errNot)
			return
		}
		w.take(m)
		w.arrive(m)
	})(w, args), &err)
}

func cmpErr(err error, other *error) error {
	if err != nil {
		return err
	}
	return *other
}

func doView(w *World, args []string) error {
	var who, of []int
	for _, x := range []struct {
		arg  string
		into *[]int
	}{{at(args, 0), &who}, {at(args, 1), &of}} {
		if x.arg == "all" || x.arg == "" {
			*x.into = w.members()
			continue
		}
		i, err := w.named(x.arg)
		if err != nil {
			return err
		}
		*x.into = []int{i}
	}
	for _, i := range who {
		for _, j := range of {
			if i == j || !w.procs[i].running() {
				continue
			}
			if err := w.view(i, j, at(args, 2)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *World) view(i, j int, word string) error {
	s := w.procs[i].sees[j]
	if word == "" {
		if _, news := w.news(i, j); news {
			return w.Learn(i, j)
		}
		return nil
	}
	if s.boot == 0 {
		s = sight{boot: w.procs[j].boot, state: member.StateReady}
	}
	s.standing = up
	switch at := slices.Index(standings, word); {
	case at >= 0:
		s.standing = standing(at)
		if s.standing == unknown {
			s = sight{}
		}
	case word == "joining":
		s.state = member.StateJoining
	case word == "leaving":
		s.state = member.StateLeaving
	default:
		return fmt.Errorf("%s: %w", word, errUnknown)
	}
	return w.See(i, j, s)
}

func doCut(w *World, args []string) error {
	side, err := w.sideOf(args)
	if err == nil {
		w.cut(side)
	}
	return err
}

// doStart starts members: start MEMBER … [at MEMBER].
func doStart(w *World, args []string) error {
	seed := -1
	if at := slices.Index(args, "at"); at >= 0 && at+1 < len(args) {
		var err error
		if seed, err = w.named(args[at+1]); err != nil {
			return err
		}
		args = args[:at]
	}
	return each(func(w *World, i int) error {
		if seed < 0 {
			return w.Start(i, w.seed(i))
		}
		return w.Start(i, seed)
	})(w, args)
}

func doTick(w *World, args []string) error {
	d, err := time.ParseDuration(at(args, 0))
	for ; err == nil && d > 0; d -= w.cfg.Tick {
		w.Tick()
	}
	return err
}

func doWrite(w *World, args []string) error {
	rest := without(args, "async")
	return parted(func(w *World, i, part int) error { return w.Write(i, part, len(rest) == len(args)) })(w, rest)
}

func doRepair(w *World, args []string) error {
	part, _ := strconv.Atoi(at(args, 2))
	return two(func(w *World, i, h int) error { return w.Repair(i, h, part) })(w, args)
}

func doForge(w *World, args []string) error {
	epoch, err := strconv.ParseUint(at(args, 2), 10, 64)
	if err != nil {
		return err
	}
	return two(func(w *World, i, j int) error {
		p := w.procs[i]
		w.send(message{kind: claim, from: p.who, to: w.procs[j].who, request: ownership.Request{
			Epoch: epoch, Ring: p.core.View().Table.Fingerprint(), Asked: []member.ID{w.procs[j].id()}, Parts: []int{0},
		}})
		return nil
	})(w, args)
}

func doRecover(w *World, args []string) error {
	for _, v := range w.Recover(at(args, 0) != "frozen") {
		w.sayf("VIOLATION of %v", v)
	}
	return nil
}

// Cluster starts all members and lets them be, until everything is served and
// has been for long.
func (w *World) Cluster() {
	log := w.log
	w.log = nil
	defer func() { w.log = log }()
	for _, i := range w.members() {
		_ = w.Start(i, w.seed(i))
	}
	for range 6 * ownership.LeaseTime / w.cfg.Tick {
		w.Tick()
		w.Settledown()
	}
	w.sent = 0
}

// show tells how all members stand, or those that are named.
func (w *World) show(args []string) error {
	for _, i := range w.members() {
		if len(args) == 0 || slices.Contains(args, Names[i]) {
			w.showOne(w.procs[i])
		}
	}
	return nil
}

func (w *World) showOne(p *proc) {
	if !p.up {
		w.sayf("%s is down", Names[p.name])
		return
	}
	said := fmt.Sprintf("%v is %v", p.who, p.state)
	if p.frozen {
		said += ", frozen"
	}
	if p.core.Gate().Leased(w.now) {
		said += ", leased"
	}
	if r := p.core.Rosters().Now; r.Version > 0 {
		said += ", " + spellRoster(r)
	}
	for part := range w.cfg.Partitions {
		said += fmt.Sprintf("; %d %v", part, p.core.Gate().Phase(part))
		if c := p.core.Holder(part); c.Epoch != 0 {
			said += fmt.Sprintf(", %v's epoch %d", whoIs(c.By), c.Epoch)
		}
		if p.store[part] != 0 {
			said += ", holds " + setOf(p.store[part])
		}
	}
	w.sayf("%s", said)
}
