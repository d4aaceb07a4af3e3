package public

import (
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/router"
)

// HopsConfig is what Hops needs of the member. All fields are required.
type HopsConfig struct {
	Self    member.ID
	Secrets *Secrets
	View    func() *member.View
	// Now tells the time of day.
	Now func() time.Time
	// Ahead is how far a member's clock is ahead of Now; 0 where it is not
	// known.
	Ahead func(member.ID) time.Duration
}

// Hops are the keys by which this member proves to others that it has passed a
// request on, and they to it. They are derived from what the members share and
// visitors do not know, see [Secrets]. Both ids go into the key too, so that a
// proof is good at one boot of one member only. With neither secret nor gossip
// key the ids are all: those know them who can gossip, who could make
// themselves a member then.
type Hops struct {
	cfg  HopsConfig
	self string

	// to and from are replaced whole. They have an entry for each member that
	// there is, and now and then some for those that there were.
	to   atomic.Pointer[map[member.ID][]*router.HopKey]
	from atomic.Pointer[map[string][]*router.HopKey]
}

// NewHops returns the keys of a member.
func NewHops(cfg HopsConfig) *Hops {
	h := &Hops{cfg: cfg, self: cfg.Self.String()}
	h.to.Store(&map[member.ID][]*router.HopKey{})
	h.from.Store(&map[string][]*router.HopKey{})
	return h
}

// To implements router.Hops.
func (h *Hops) To(t router.Target) (self string, keys []*router.HopKey, now time.Time) {
	id := member.ID{Name: t.Name, Boot: t.Boot}
	now = h.cfg.Now().Add(h.cfg.Ahead(id))
	if keys = (*h.to.Load())[id]; keys != nil {
		return h.self, keys, now
	}
	view := h.cfg.View()
	m := view.Member(id)
	if m == nil {
		return h.self, nil, now
	}
	for _, secret := range h.cfg.Secrets.hopsTo(m) {
		keys = append(keys, router.NewHopKey(secret, h.self, id.String()))
	}
	keep(&h.to, id, keys, len(view.Members))
	return h.self, keys, now
}

// From implements router.Hops. A member that has just started may be known to
// nobody yet; who has the secret is believed all the same.
func (h *Hops) From(from string) (keys []*router.HopKey, now time.Time) {
	now = h.cfg.Now()
	if keys = (*h.from.Load())[from]; keys != nil {
		return keys, now
	}
	for _, secret := range h.cfg.Secrets.hopsFrom() {
		keys = append(keys, router.NewHopKey(secret, from, h.self))
	}
	view := h.cfg.View()
	if id, err := member.ParseID(from); err == nil && view.Member(id) != nil {
		keep(&h.from, from, keys, len(view.Members))
	}
	return keys, now
}

// keep adds an entry to a map that is replaced whole, and begins it anew when
// most of it must be of members that are gone. An entry that a parallel call
// loses is made again.
func keep[K comparable, V any](in *atomic.Pointer[map[K]V], key K, value V, members int) {
	old := in.Load()
	next := make(map[K]V, len(*old)+1)
	if len(*old) < 2*members+16 {
		for k, v := range *old {
			next[k] = v
		}
	}
	next[key] = value
	in.CompareAndSwap(old, &next)
}
