package member

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/ring"
)

// Member is one boot of one member as this member sees it.
type Member struct {
	ID
	Meta
	Gossip string // host:port
	// Up says that the member takes part: gossip knows it as alive, it is
	// reached, it is not gone, and no newer boot has its name.
	Up bool
	// Gone says that it takes part no more: it has Ended or Left, its address
	// has refused connections while nothing was heard of it, or gossip has
	// found it dead.
	Gone bool
	// Unreached says that gossip knows it as alive, and that no heartbeat has
	// come through to it for some seconds, by whatever way.
	Unreached bool
	// Ended says that its process has ended: it has closed its connections and
	// its address refuses new ones, or answers as another boot.
	Ended bool
	// Left says that it said good-bye.
	Left bool
	// Since is when its standing last changed.
	Since time.Time
}

// Serves says whether the member can own partitions.
func (m *Member) Serves() bool {
	return m.Up && m.Role == RoleNode && m.State == StateReady && !m.Unfit
}

// Brings says whether the member is about to take its place on the ring, with
// sessions from its disk that the others may not have.
func (m *Member) Brings() bool {
	return m.Up && m.Role == RoleNode && m.State == StateJoining && m.Keeps
}

// HasLeft says whether the member takes part no more, and went in order: it said
// good-bye, or that it was leaving.
func (m *Member) HasLeft() bool { return m.Left || m.Gone && m.State == StateLeaving }

// View is one immutable picture of the membership. A change makes a new one,
// swapped whole; readers take no lock.
type View struct {
	// Table says who owns what among the ready nodes.
	Table *ring.Table
	// Members has every known boot, by name, the newest first.
	Members []*Member
	// Uniform says that weights and zones do not count in Table: a member takes
	// part that is too old to know of them. A router of its version would send
	// users elsewhere, so it is not only about nodes.
	Uniform bool

	lost map[string]bool // public addresses that only members have that are not up

	byName map[string]*Member // the member that goes by a ring name now
	byID   map[ID]*Member
	// Per partition: the IDs, as strings, that should hold a copy, without this
	// member.
	copies [][]string
	nodes  []*Member // the table's members, by name

	appsDown bool // the sidecars of some nodes
}

// Shows says whether these, sorted, are the members of the view, in the same
// state.
func (v *View) Shows(members []*Member) bool {
	return slices.EqualFunc(v.Members, members, func(a, b *Member) bool { return *a == *b })
}

// Sort sorts by name, the newest boot first.
func Sort(members []*Member) {
	slices.SortFunc(members, func(a, b *Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Boot, a.Boot))
	})
}

// Named returns the member that goes by name now, nil if there is none.
func (v *View) Named(name string) *Member { return v.byName[name] }

// Member returns what is known of one boot, nil if nothing is.
func (v *View) Member(id ID) *Member { return v.byID[id] }

// Nodes returns the ready nodes, by name.
func (v *View) Nodes() []*Member { return v.nodes }

// Others returns the ready nodes beside self.
func (v *View) Others(self ID) []*Member {
	return slices.DeleteFunc(slices.Clone(v.nodes), func(m *Member) bool { return m.ID == self })
}

// CopyHolders returns the members beside this one that should have a copy of
// partition p.
func (v *View) CopyHolders(p int) []string { return v.copies[p] }

// Target is how many nodes are to hold each session, its owner among them.
func (v *View) Target() int { return v.Table.Params().Copies }

// Holds says whether a boot should have a copy of partition p, or owns it. One
// whose name another boot goes by holds nothing.
func (v *View) Holds(id ID, p int) bool {
	m := v.Named(id.Name)
	return m != nil && m.ID == id && slices.Contains(v.Table.Holders(p), id.Name)
}

// NewView computes the view that self has of members. The parameters are those
// of a ring of which no member says more.
func NewView(self ID, members []*Member, params ring.Params, last *View) (*View, error) {
	Sort(members)
	v := &View{Members: members, byName: make(map[string]*Member), byID: make(map[ID]*Member, len(members)), lost: make(map[string]bool)}
	var nodes []ring.Member
	for _, m := range members {
		v.byID[m.ID] = m
		if !m.Up {
			v.lost[m.HTTP] = true
			continue
		}
		v.byName[m.Name] = m
		v.Uniform = v.Uniform || !m.Speaks(WirePlacement) && !planted.Is(planted.WeighedEarly)
		if m.Serves() {
			nodes = append(nodes, ring.Member{Name: m.Name, Weight: m.Weight, Zone: m.Zone})
			v.nodes = append(v.nodes, m)
			v.appsDown = v.appsDown || m.AppDown
		}
	}
	for _, m := range v.byName {
		delete(v.lost, m.HTTP)
	}
	if v.Uniform {
		for i := range nodes {
			nodes[i] = ring.Member{Name: nodes[i].Name}
		}
	}
	params = paramsOf(members, params)
	if last != nil && last.Table.IsOf(nodes, params) {
		v.Table = last.Table
	} else {
		table, err := ring.Build(nodes, params)
		if err != nil {
			return nil, err
		}
		v.Table = table
	}
	v.copies = make([][]string, ring.Partitions)
	for p := range v.copies {
		for _, name := range v.Table.Holders(p) {
			if m := v.byName[name]; m.ID != self {
				v.copies[p] = append(v.copies[p], m.String())
			}
		}
	}
	return v, nil
}

// AppsDown says whether the sidecar application of some node does not answer.
func (v *View) AppsDown() bool { return v.appsDown }

// Lost says whether a public address belongs only to members that are not up.
func (v *View) Lost(address string) bool { return v.lost[address] }

// LostAddresses returns all of these addresses, in no order.
func (v *View) LostAddresses() iter.Seq[string] { return maps.Keys(v.lost) }

// Up says whether a boot takes part.
func (v *View) Up(id ID) bool {
	m := v.Member(id)
	return m != nil && m.Up
}

// HasEnded says whether a boot's process is known to have ended, or said
// good-bye. A member that gossip merely holds for dead may be frozen, one whose
// address refuses connections may be behind a firewall, and both come back.
func (v *View) HasEnded(id ID) bool {
	m := v.Member(id)
	switch {
	case m == nil:
		// So long gone that gossip has forgotten it; unless it is newer than
		// all that gossip has told of the name, and so will be told of soon.
		newest := ""
		for _, m := range v.Members {
			if m.Name == id.Name {
				newest = max(newest, m.Boot)
			}
		}
		return newest == "" || newest > id.Boot
	case m.Ended || m.Left:
		return true
	default:
		now := v.Named(id.Name)
		return now != nil && now.Boot > id.Boot
	}
}

// Replaced says whether a boot's process has ended for sure: it said good-bye,
// or a newer boot of its name has its peer address. That an address refuses
// connections says less, for a firewall refuses them too.
func (v *View) Replaced(id ID, address string) bool {
	if m := v.Member(id); m != nil && m.Left {
		return true
	}
	now := v.Named(id.Name)
	return now != nil && now.Boot > id.Boot && now.Peer == address && address != ""
}

// Misses says whether a node beside self may be alive that does not take part:
// frozen, or cut off.
func (v *View) Misses(self ID) bool {
	return slices.ContainsFunc(v.Members, func(m *Member) bool {
		return m.ID != self && m.Role == RoleNode && !m.Up && !v.HasEnded(m.ID)
	})
}
