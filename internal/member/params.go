package member

import (
	"fmt"
	"strings"

	"github.com/seed-95a32959/holdfast/ring"
)

// The parameters of the ring are those that the eldest states: the ready node
// that has run longest. Each member states in Meta.Params by which parameters its
// ring is placed, and in Meta.Wants what its operator has asked for. Who joins
// takes over what the eldest states before it takes its place, and so does
// whoever meets an elder one when a cut heals. The eldest states another value
// once all want that one: so a rolling restart changes it, in the moment in which
// the last node is back.

// paramsOf returns the parameters by which these members place partitions; own
// if none of them is ready.
func paramsOf(members []*Member, own ring.Params) ring.Params {
	if eldest := Eldest(members); eldest != nil && eldest.Params != "" {
		if p, err := ring.ParseParams(eldest.Params); err == nil {
			return p
		}
	}
	return own
}

// Eldest returns the ready node that has run longest, nil if none is ready.
func Eldest(members []*Member) (eldest *Member) {
	for _, m := range members {
		if m.Serves() && (eldest == nil || m.Boot < eldest.Boot) {
			eldest = m
		}
	}
	return eldest
}

// Agreed returns what the parameters should be: each as it is, unless all ready
// nodes want another value. Members that are too old to follow want what they
// state.
func (v *View) Agreed() ring.Params {
	agreed := v.Table.Params()
	var wants []ring.Params
	for _, m := range v.Members {
		switch {
		case !m.Up:
		case !m.Speaks(WireParams):
			if p, err := ring.ParseParams(m.Params); err == nil {
				wants = append(wants, p)
			}
		case m.Serves():
			wants = append(wants, m.Wants)
		}
	}
	if len(wants) == 0 {
		return agreed
	}
	first := wants[0]
	copies, vnodes, load := first.Copies != 0, first.VirtualNodes != 0, first.Load != 0
	for _, w := range wants {
		copies = copies && w.Copies == first.Copies
		vnodes = vnodes && w.VirtualNodes == first.VirtualNodes
		load = load && w.Load == first.Load
	}
	if copies {
		agreed.Copies = first.Copies
	}
	if vnodes {
		agreed.VirtualNodes = first.VirtualNodes
	}
	if load {
		agreed.Load = first.Load
	}
	return agreed
}

// CheckMode compares what two nodes do in a cut network. One that serves alone,
// beside others that count on a majority, undoes what these promise. Its error
// says how to change it.
func CheckMode(ours, theirs, who string) error {
	if ours == theirs || ours == "" || theirs == "" {
		return nil
	}
	return fmt.Errorf("parameters differ: -partition-mode %s here, %s at %s: all nodes must have the same; to change it stop all of them", ours, theirs, who)
}

// CheckParams compares what members must have in common. older says that one of
// the two cannot follow the other: then that is all of it, else the number of
// partitions alone. Its error names the first parameter that differs, with both
// values.
func CheckParams(ours, theirs, who string, older bool) error {
	if ours == theirs {
		return nil
	}
	mine, other := strings.Fields(ours), strings.Fields(theirs)
	if !older {
		mine, other = mine[:min(1, len(mine))], other[:min(1, len(other))]
	}
	for i := range min(len(mine), len(other)) {
		if mine[i] != other[i] {
			return fmt.Errorf("parameters differ: %s here, %s at %s: all members must have the same", mine[i], other[i], who)
		}
	}
	if older || len(mine) != len(other) {
		return fmt.Errorf("parameters differ: %q here, %q at %s: all members must have the same", ours, theirs, who)
	}
	return nil
}
