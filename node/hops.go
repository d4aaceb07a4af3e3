package node

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"

	"github.com/seed-95a32959/holdfast/router"
)

// hops are the keys by which this member proves to others that it has passed a
// request on, and they to it. They are derived from what the members share and
// visitors do not know: the secret of Config.Secret, or, where a member has
// none, the gossip key. Both ids go into the key too, so that a proof is good at
// one boot of one member only. With neither secret nor gossip key the ids are
// all: those know them who can gossip, who could make themselves a member then.
type hops struct {
	node *Node
	self string

	// to and from are replaced whole. They have an entry for each member that
	// there is, and now and then some for those that there were.
	to   atomic.Pointer[map[ID][]*router.HopKey]
	from atomic.Pointer[map[string][]*router.HopKey]
}

func newHops(n *Node) *hops {
	h := &hops{node: n, self: n.id.String()}
	h.to.Store(&map[ID][]*router.HopKey{})
	h.from.Store(&map[string][]*router.HopKey{})
	return h
}

// To implements router.Hops.
func (h *hops) To(t router.Target) (self string, keys []*router.HopKey, now time.Time) {
	n := h.node
	id := ID{Name: t.Name, Boot: t.Boot}
	now = n.clock.Now()
	if l := n.mesh.Link(id); l != nil {
		now = now.Add(l.ClockOffset())
	}
	if keys = (*h.to.Load())[id]; keys != nil {
		return h.self, keys, now
	}
	m := n.View().Member(id)
	if m == nil {
		return h.self, nil, now
	}
	for _, secret := range n.hopSecretsFor(m) {
		keys = append(keys, router.NewHopKey(secret, h.self, id.String()))
	}
	keep(&h.to, id, keys, len(n.View().Members))
	return h.self, keys, now
}

// From implements router.Hops. A member that has just started may be known to
// nobody yet; who has the secret is believed all the same.
func (h *hops) From(from string) (keys []*router.HopKey, now time.Time) {
	n := h.node
	now = n.clock.Now()
	if keys = (*h.from.Load())[from]; keys != nil {
		return keys, now
	}
	for _, secret := range n.hopSecrets() {
		keys = append(keys, router.NewHopKey(secret, from, h.self))
	}
	if id, err := member.ParseID(from); err == nil && n.View().Member(id) != nil {
		keep(&h.from, from, keys, len(n.View().Members))
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

// hopSecrets are the secrets that hops to this member may be proven by.
func (n *Node) hopSecrets() [][]byte {
	switch {
	case n.cfg.Secret != nil:
		return append([][]byte{n.cfg.Secret}, n.cfg.OldSecrets...)
	case len(n.cfg.GossipKeys) > 0:
		return n.cfg.GossipKeys
	default:
		return [][]byte{nil}
	}
}

// hopSecretsFor are the secrets that prove hops to m. Its metadata says by which
// it signs its cookies. If that is none of this member's it may have none of the
// operator's, but a random one, or it is about to change its secret.
func (n *Node) hopSecretsFor(m *Member) (secrets [][]byte) {
	if n.cfg.Secret != nil && m.Secret != "" {
		for _, secret := range append([][]byte{n.cfg.Secret}, n.cfg.OldSecrets...) {
			if secretTag(secret) == m.Secret {
				return [][]byte{secret}
			}
		}
		secrets = append(secrets, n.cfg.Secret)
	}
	if len(n.cfg.GossipKeys) > 0 {
		return append(secrets, n.cfg.GossipKeys[0])
	}
	return append(secrets, nil)
}

// arrival is what is known of a request when it has come in at the public door.
type arrival struct {
	attempt
	hop *router.Hop // the member that has passed it on; nil for none
}

type arrivalKey struct{}

// arrived lets what is done for a request know how it has come here.
func arrived(r *http.Request, a arrival) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), arrivalKey{}, &a))
}

// hopOf returns the member that has passed a request on, as arrived has noted,
// or nil.
func hopOf(ctx context.Context) *router.Hop {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok {
		return a.hop
	}
	return nil
}
