package session

import (
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// Stamp is a hybrid logical clock reading: 48 bits of unix milliseconds above
// a 16-bit counter (Kulkarni et al., "Logical Physical Clocks", 2014). It
// orders the writes to one session: a write that has seen another is larger,
// whatever the clocks of their nodes say. Zero means "none" and is older than
// every write.
type Stamp uint64

const (
	counterBits = 16

	// MaxAhead is how far the stamps of a remote record may be ahead of the
	// local clock. Without a bound a node with a broken clock would win every
	// later conflict, until real time has caught up with it. It is more than
	// the clocks of two members that serve may differ by, and Lead.
	MaxAhead = 4 * time.Second
)

// StampAt returns the first stamp of the millisecond that t lies in.
func StampAt(t time.Time) Stamp { return stampAt(t.UnixMilli()) }

func stampAt(ms int64) Stamp { return Stamp(ms) << counterBits }

// after returns the stamp of a write made at now (unix ms) by a node that has
// seen seen: later than both. More than 65,535 writes within a millisecond run
// into the next one, which is harmless.
func after(now int64, seen Stamp) Stamp {
	if planted.Is(planted.WallClock) {
		seen = 0
	}
	return max(stampAt(now), seen) + 1
}

// Time returns the stamp's wall-clock part, to the millisecond.
func (s Stamp) Time() time.Time { return time.UnixMilli(s.millis()) }

func (s Stamp) millis() int64 { return int64(s >> counterBits) }

// String returns the stamp as milliseconds, a dot, and the counter.
func (s Stamp) String() string {
	return fmt.Sprintf("%d.%d", s.millis(), uint16(s))
}
