package ownership

// Resign gives up all that this member serves or claims, for good, and to
// nobody: it has lost its place to another boot of its name, which has claimed
// what the ring gives to the two, or will.
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
