package command

// Flags says what a command is like, in the words of Redis.
type Flags uint32

const (
	Write Flags = 1 << iota
	Readonly
	DenyOOM
	Admin
	PubSub
	NoScript
	Loading
	Stale
	SkipMonitor
	SkipSlowlog
	Fast
	NoAuth
	NoMandatoryKeys
	AllowBusy
	MovableKeys
)

var flagNames = [...]string{
	"write", "readonly", "denyoom", "admin", "pubsub", "noscript", "loading", "stale", "skip_monitor",
	"skip_slowlog", "fast", "no_auth", "no_mandatory_keys", "allow_busy", "movablekeys",
}

// Has reports whether all of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Strings returns the names that Redis gives the flags, in its order.
func (f Flags) Strings() []string {
	names := make([]string, 0, 4)
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
