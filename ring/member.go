package ring

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	// DefaultWeight is the weight of a member that states none, in hundredths.
	DefaultWeight = 100

	// LeastWeight and MostWeight bound the weight of a member, in hundredths.
	LeastWeight = 10
	MostWeight  = 1000
)

// Member is a member of a ring with what it states about itself.
type Member struct {
	// Name is unique among the members, and not empty.
	Name string

	// Weight is the member's share beside that of others, in hundredths: one
	// of weight 200 owns twice as much as one of 100. 10 to 1000, default 100.
	Weight int

	// Zone is where the member runs, such as a rack or a building that fails
	// as a whole. Zones count once every member states one and two of them
	// differ. Then the copies of each partition lie in two zones or more.
	Zone string
}

// normal returns the members by name with what counts of their weights and
// zones: defaults filled in, and no zone where zones do not count. Sets with
// one normal form have one table and one fingerprint.
func normal(members []Member) ([]Member, error) {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	differ := false
	for i := range sorted {
		m := &sorted[i]
		m.Weight = cmp.Or(m.Weight, DefaultWeight)
		switch {
		case m.Name == "": // Owner's word for nobody
			return nil, fmt.Errorf("member %q: a name of at least one byte is accepted", m.Name)
		case i > 0 && m.Name == sorted[i-1].Name:
			return nil, fmt.Errorf("member %q given twice: each name is accepted once", m.Name)
		case m.Weight < LeastWeight || m.Weight > MostWeight:
			return nil, fmt.Errorf("member %q of weight %d: %d to %d hundredths are accepted", m.Name, m.Weight, LeastWeight, MostWeight)
		}
		differ = differ || m.Zone != sorted[0].Zone
	}
	if !differ || slices.ContainsFunc(sorted, func(m Member) bool { return m.Zone == "" }) {
		for i := range sorted {
			sorted[i].Zone = ""
		}
	}
	return slices.Clip(sorted), nil
}
