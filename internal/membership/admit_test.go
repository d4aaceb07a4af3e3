package membership

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

func TestAdmission(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddr
	node := func(peer, gossip string) heard {
		return heard{Meta: member.Meta{Role: member.RoleNode, Peer: peer}, Gossip: gossip, Alive: true}
	}
	frozen, left := node("10.0.0.1:83", "10.0.0.1:84"), node("10.0.0.1:83", "10.0.0.1:84")
	frozen.Alive = false
	left.Alive, left.Left = false, true
	router := heard{Meta: member.Meta{Role: member.RoleRouter}, Gossip: "10.0.0.1:84", Alive: true}
	for name, c := range map[string]struct {
		h           heard
		from        string
		gone, ended bool
		why         member.Refusal
	}{
		"a node":                            {h: node("10.0.0.1:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"mapped into IPv6":                  {h: node("[::ffff:10.0.0.1]:83", ""), from: "10.0.0.1"},
		"whose peer port is elsewhere":      {h: node("10.1.0.1:83", "10.0.0.1:84"), from: "10.1.0.1"},
		"which gossips elsewhere":           {h: node("10.1.0.1:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"which advertises a name":           {h: node("ada.example:83", "10.0.0.1:84"), from: "10.0.0.1"},
		"from nowhere that gossip tells":    {h: node("10.0.0.1:83", "10.0.0.1:84"), from: "10.0.0.2", why: member.OtherAddress},
		"a frozen one that goes on":         {h: frozen, from: "10.0.0.1"},
		"one that has ended":                {h: frozen, from: "10.0.0.1", gone: true, ended: true, why: member.Ended},
		"one whose host refuses":            {h: frozen, from: "10.0.0.1", gone: true},
		"one that seemed to have ended":     {h: node("10.0.0.1:83", ""), from: "10.0.0.1", gone: true, ended: true},
		"one that has said good-bye":        {h: left, from: "10.0.0.1", why: member.Ended},
		"a router, which has no peer port":  {h: router, from: "10.0.0.1"},
		"a name that stands for no address": {h: node("ada.example:83", "ada.example:84"), from: "10.0.0.1", why: member.OtherAddress},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(config("z"), member.Meta{})
			require.NoError(t, err)
			who := membertest.ID("a", 1)
			m.gossip = &gossip{heard: map[string]heard{who.String(): c.h}}
			if c.gone {
				m.gone[who] = going{"it refused", c.ended}
			}
			require.Equal(t, c.why, m.Admits(who, c.h.Meta.Role, at(c.from)))
			require.Equal(t, c.why == "" || c.gone, m.Keeps(who, at(c.from)), "its host may refuse one way only")
			require.Equal(t, c.why != member.OtherAddress, m.KnowsAddress(at(c.from)))
			require.Equal(t, member.Stranger, m.Admits(membertest.ID("a", 2), c.h.Meta.Role, at(c.from)))
		})
	}
}
