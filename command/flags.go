package command

// Flags say what kind of command one is.
type Flags uint16

// The flags of a command, by their names in Redis.
const (
	Write Flags = 1 << iota
	ReadOnly
	DenyOOM // may need memory
	Fast
)

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Strings returns the names of the flags as COMMAND shows them.
func (f Flags) Strings() []string {
	var names []string
	for i, name := range []string{"write", "readonly", "denyoom", "fast"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
