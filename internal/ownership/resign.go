package ownership

import "time"

// Resign gives up all that this member serves or claims, and to nobody. It
// claims nothing any more, until Resume: it has lost its place to another boot
// of its name, or its copies are too old to serve.
func (c *Core) Resign() (todo Todo) {
	c.resigned = true
	for p := range c.parts {
		part := &c.parts[p]
		part.given = given{}
		if part.phase == Away {
			continue
		}
		if part.serving() {
			todo.Close = append(todo.Close, p)
		}
		c.setPhase(p, Away)
	}
	return todo
}

// Resume takes Resign back: this member claims what the ring gives to it.
func (c *Core) Resume() Todo {
	c.resigned = false
	return Todo{Round: true}
}

// InTouch says whether this member and those that have answered it within the
// last second are at least half of the cluster.
func (c *Core) InTouch(now time.Duration) bool {
	here := 1
	for id, p := range c.peers {
		if m := c.view.Member(id); m != nil && m.Serves() && p.answered > 0 && now-p.answered < LeaseTime {
			here++
		}
	}
	return 2*here >= len(c.stable)
}
