package membership

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// A name whose boots ended flapDeaths times within flapWindow without a
// good-bye is kept off the ring for flapHold, doubled for each death more,
// flapMost at most: its partitions shall not move to and fro each time.
const (
	flapWindow = time.Minute
	flapDeaths = 3
	flapHold   = 5 * time.Second
	flapMost   = time.Minute
)

// holdOff returns how long this member has to wait for its place on the ring,
// by what the others say of its name's past.
func (m *Members) holdOff() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	deaths := 0
	for _, seen := range m.counts {
		deaths = max(deaths, seen)
	}
	if deaths < flapDeaths {
		return 0
	}
	return min(flapMost, flapHold<<min(deaths-flapDeaths, 8))
}

// DeathsOf returns how many boots of a name have ended without a good-bye
// within the last minute, as this member saw it.
func (m *Members) DeathsOf(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pruneDeathsLocked()
	return min(len(m.deaths[name]), 255)
}

// noteDeath records that a boot has ended without a good-bye.
func (m *Members) noteDeath(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaths[name] = append(m.deaths[name], m.cfg.Clock.Since())
	m.pruneDeathsLocked()
}

// pruneDeathsLocked forgets the deaths that count no more, of all names: one
// that never comes back is asked for by nobody.
func (m *Members) pruneDeathsLocked() {
	now := m.cfg.Clock.Since()
	for name, ends := range m.deaths {
		if ends = slices.DeleteFunc(ends, func(at time.Duration) bool { return now-at > flapWindow }); len(ends) > 0 {
			m.deaths[name] = ends
		} else {
			delete(m.deaths, name)
		}
	}
}

// StateSection tells others what this member says of itself, ahead of gossip:
//
//	u8 state | u8 deaths | u8 flags
//
// where deaths are, in an answer, the boots of the asker's name that have ended
// within the last minute, and the lowest flag says that the member is unfit.
func (m *Members) StateSection() mesh.Section {
	heard := func(from member.ID, said []byte) error {
		if len(said) == 0 {
			return nil // gossip tells
		}
		state := member.State(said[0])
		if state < member.StateJoining || state > member.StateLeaving {
			return fmt.Errorf("state %d: 1 to 3 are accepted", said[0])
		}
		m.setTold(from, told{state: state, unfit: len(said) > 2 && said[2]&stateUnfit != 0})
		return nil
	}
	return mesh.Section{
		Type: mesh.SectionState,
		Ask:  func() []byte { return m.say(0) },
		Asked: func(from member.ID, said []byte) ([]byte, error) {
			err := heard(from, said)
			return m.say(m.DeathsOf(from.Name)), err
		},
		Answered: func(from member.ID, _ time.Duration, said []byte) error {
			if len(said) > 1 {
				m.mu.Lock()
				m.counts[from] = int(said[1])
				m.mu.Unlock()
			}
			return heard(from, said)
		},
		Lost: func(from member.ID) { // it may be fit again when gossip says so
			m.setTold(from, told{})
		},
	}
}

const stateUnfit byte = 1

// say is what this member says of itself on its links.
func (m *Members) say(deaths int) []byte {
	own := m.self()
	said := []byte{byte(own.State), byte(deaths), 0}
	if own.Unfit {
		said[2] |= stateUnfit
	}
	return said
}
