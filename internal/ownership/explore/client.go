package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// serves says whether a member's clients are served there at this moment, and
// whether under a lease.
func (w *World) serves(i, part int) (here, leased bool) {
	p := w.procs[i]
	if !p.running() || p.open&(1<<part) == 0 {
		return false, false
	}
	d := p.core.Gate().Decide(part, w.now)
	return d.Here(), d.Here() && d.Leased
}

// sight of a client: what it can read at a member that serves, which is what
// that holds, and while it fetches what the sources hold too. ok is false if a
// source does not answer.
func (w *World) readable(i, part int) (set uint16, ok bool) {
	p := w.procs[i]
	set, ok = p.store[part], true
	sources, _, _ := p.core.Sources(part)
	for _, id := range sources {
		s := whoIs(id)
		switch q := w.procs[s.name]; {
		case q.boot == s.boot && w.talks(i, int(s.name)):
			set |= q.store[part]
		case p.core.View().Up(id):
			return set, false
		}
	}
	return set, ok
}

// Write makes the next write at a member that serves, and sends its copies. It
// is confirmed at once if nobody waits for a copy.
func (w *World) Write(i, part int, replica bool) error {
	here, leased := w.serves(i, part)
	if _, ok := w.readable(i, part); !here || !ok || w.writes >= 16 || !leased && w.cfg.Mode == ownership.Majority {
		return w.not("write at %s", Names[i])
	}
	p := w.edit(i)
	set := uint16(1) << w.writes
	w.writes++
	p.store[part] |= set
	holders := p.holders(part)
	w.sayf("%s makes write %s, copies go to %s", Names[i], setOf(set), orNobody(spelled(holders)))
	if leased && replica {
		p.waiting = append(p.waiting, waiting{part, set, p.core.Holder(part).Epoch, w.now})
	}
	for _, h := range holders {
		w.send(message{kind: copied, from: p.who, to: who{uint8(h), p.sees[h].boot}, part: part, set: set})
	}
	if leased && replica && w.needsNoCopy(p, part) {
		w.confirm(p, part, set)
	}
	return nil
}

func spelled(members []int) (names []string) {
	for _, i := range members {
		names = append(names, Names[i])
	}
	return names
}

// copyAgain sends copies of what is not confirmed to the holders of the view.
func (w *World) copyAgain(p *proc) {
	for _, x := range slices.Clone(p.waiting) {
		holders := p.holders(x.part)
		if w.needsNoCopy(p, x.part) {
			w.confirm(p, x.part, x.set)
		}
		for _, h := range holders {
			under := func(m *message) bool {
				return m.set == x.set && m.part == x.part && (m.kind == copied && int(m.to.name) == h || m.kind == confirmed && int(m.from.name) == h)
			}
			if !slices.ContainsFunc(w.msgs, under) {
				w.send(message{kind: copied, from: p.who, to: who{uint8(h), p.sees[h].boot}, part: x.part, set: x.set})
			}
		}
	}
}

// confirm tells a writer that a copy has its write, or that it is not known
// what has become of it.
func (w *World) confirm(p *proc, part int, set uint16) {
	for i, x := range p.waiting {
		if x.part != part || x.set != set {
			continue
		}
		p.waiting = slices.Delete(p.waiting, i, i+1)
		if !p.core.Gate().Kept(part, x.epoch, w.now) {
			w.sayf("%s has copies of write %s, and does not know whether its successor has it", Names[p.name], setOf(set))
			return
		}
		w.confirmed(p, part, set)
		w.sayf("%s confirms write %s", Names[p.name], setOf(set))
		return
	}
}

// needsNoCopy says whether a write is confirmed with no copy: there is nobody
// who should have one. In mode majority that must be the whole cluster.
func (w *World) needsNoCopy(p *proc, part int) bool {
	return len(p.holders(part)) == 0 && !(w.cfg.Mode == ownership.Majority && p.core.Gate().Alone())
}

// confirmed keeps the account of what was confirmed, and how.
func (w *World) confirmed(p *proc, part int, set uint16) {
	w.must[part] |= set & w.held(part)
	if w.parted != [maxMembers]uint8{} || p.core.Gate().Alone() { // which the answer says
		w.aside[part] |= set
	}
	_, leased := w.serves(int(p.name), part)
	switch {
	case len(p.holders(part)) == 0:
		w.uncopied[part] |= set
	case !leased:
		w.late[part] |= set
	}
}

// held are the writes that some process holds.
func (w *World) held(part int) (set uint16) {
	for _, p := range w.procs {
		if p.up {
			set |= p.store[part]
		}
	}
	return set
}

// lacks says whether a partition is to be fetched here and can be.
func (w *World) mayFetch(i, part int) bool {
	p := w.procs[i]
	if !p.running() {
		return false
	}
	if _, _, fetching := p.core.Sources(part); !fetching {
		return false
	}
	_, ok := w.readable(i, part)
	return ok
}

// Fetch merges what the sources of a partition hold.
func (w *World) Fetch(i, part int) error {
	if !w.mayFetch(i, part) {
		return w.not("fetch %d at %s", part, Names[i])
	}
	p := w.edit(i)
	sources, epoch, _ := p.core.Sources(part)
	var heard, silent, ended []member.ID
	for _, id := range sources {
		s := whoIs(id)
		switch q := w.procs[s.name]; {
		case q.boot == s.boot && w.talks(i, int(s.name)):
			p.store[part] |= q.store[part]
			heard = append(heard, id)
			w.sayf("%s fetches from %s, holds writes %s", Names[i], id.Name, setOf(p.store[part]))
		case !p.core.View().HasEnded(id) && !p.core.Settled(w.now):
			silent = append(silent, id)
			w.sayf("%s is not answered by %s, which may come back", Names[i], id.Name)
		default:
			if p.core.View().HasEnded(id) {
				ended = append(ended, id)
			}
			w.sayf("%s gives %s up, which has ended", Names[i], id.Name)
		}
	}
	if p.core.SetUnreached(part, epoch, heard, silent, ended) {
		w.sayf("%s serves %d unverified", Names[i], part)
		return nil
	}
	p.core.Fetched(part, epoch)
	w.sayf("%s has fetched %d", Names[i], part)
	return nil
}

// mayRepair says whether a member that serves a partition sees a copy
// that differs.
func (w *World) mayRepair(i, h, part int) bool {
	p, q := w.procs[i], w.procs[h]
	return i != h && w.talks(i, h) && p.core.Gate().Phase(part) == ownership.Warm && p.sees[h].boot == q.boot &&
		p.store[part] != q.store[part] && slices.Contains(p.holders(part), h)
}

// Repair makes the copies of a partition equal, here and at a holder.
func (w *World) Repair(i, h, part int) error {
	if !w.mayRepair(i, h, part) {
		return w.not("repair %s by %s", Names[h], Names[i])
	}
	p, q := w.edit(i), w.edit(h)
	p.store[part] |= q.store[part]
	q.store[part] = p.store[part]
	w.sayf("%s and %s hold writes %s", Names[i], Names[h], setOf(p.store[part]))
	return nil
}

// mayHandOver says whether a member holds a copy that it should not, and can
// give it to all that should.
func (w *World) mayHandOver(i, part int) bool {
	p := w.procs[i]
	if !p.running() || p.store[part] == 0 || p.core.Gate().Phase(part) != ownership.Away || slices.Contains(p.core.View().Table.Holders(part), Names[i]) {
		return false
	}
	holders := p.takers(part)
	return len(p.holders(part)) > 0 && !slices.ContainsFunc(holders, func(h int) bool { return !w.talks(i, h) || p.sees[h].boot != w.procs[h].boot })
}

// HandOver gives a copy to those that should have it, and forgets it here.
func (w *World) HandOver(i, part int) error {
	if !w.mayHandOver(i, part) {
		return w.not("hand over %d at %s", part, Names[i])
	}
	p := w.edit(i)
	takers := p.takers(part)
	for _, h := range takers {
		w.edit(h).store[part] |= p.store[part]
	}
	if p.core.BeginDrop(w.now, part) {
		p.store[part] = 0
		p.core.EndDrop(w.now, part, true)
	}
	w.sayf("%s hands its copy of %d over to %s", Names[i], part, strings.Join(spelled(takers), ", "))
	return nil
}

// Read says what becomes of a client's request at a member's door.
func (w *World) Read(i, part int) string {
	return w.read(i, part, 2)
}

func (w *World) read(i, part, hops int) string {
	p := w.procs[i]
	switch {
	case !p.up:
		return Names[i] + " refuses the connection"
	case p.frozen:
		return Names[i] + " does not answer"
	}
	d := p.core.Gate().Decide(part, w.now)
	switch {
	case d.Here() && p.open&(1<<part) == 0:
		return Names[i] + " is to serve and is shut"
	case d.Here():
		return w.readHere(i, part)
	case d.Verdict == ownership.Wait:
		return Names[i] + " waits for an owner"
	case hops == 0:
		return Names[i] + " has no hops left"
	}
	next := whoIs(d.Owner)
	said := fmt.Sprintf("%s forwards to %v", Names[i], next)
	if d.Epoch > 0 {
		said += fmt.Sprintf(" by epoch %d", d.Epoch)
	}
	if q := w.procs[next.name]; q.boot != next.boot || !w.linked(i, int(next.name)) {
		return said + "; no answer"
	}
	return said + "; " + w.read(int(next.name), part, hops-1)
}

// readHere answers at the owner, which asks the others if it has no lease.
func (w *World) readHere(i, part int) string {
	said, degraded := "", false
	if p := w.procs[i]; !p.core.Gate().Leased(w.now) {
		if said = w.Ask(i); !w.procs[i].core.Gate().Leased(w.now) {
			if w.procs[i].core.ShouldAsk(w.now) {
				return said + "it waits for answers"
			}
			if w.cfg.Mode == ownership.Majority {
				return said + Names[i] + " refuses: no majority"
			}
			degraded = true
		}
	}
	p := w.procs[i]
	d := p.core.Gate().Decide(part, w.now)
	set, ok := w.readable(i, part)
	switch {
	case !d.Here():
		return said + "it has been succeeded"
	case !ok:
		return said + Names[i] + " waits for a source"
	}
	said += fmt.Sprintf("%s serves, writes %s", Names[i], setOf(set))
	for _, x := range []struct {
		is   bool
		what string
	}{{d.Verdict == ownership.FetchFirst, "fetched first"}, {d.Unverified, "unverified"}, {degraded, "degraded, without a lease"}, {p.core.Gate().Alone(), "degraded, alone"}} {
		if x.is {
			said += ", " + x.what
		}
	}
	return said
}

// Ask lets an owner without a lease ask all others.
func (w *World) Ask(i int) string {
	p := w.procs[i]
	if !p.core.ShouldAsk(w.now) {
		return ""
	}
	p = w.edit(i)
	if p.asking == 0 {
		p.asking = w.now
	}
	for j := range w.procs {
		w.Beat(i, j)
	}
	return Names[i] + " asks for a lease; "
}
