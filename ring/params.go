package ring

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	defaultVirtualNodes = 400
	defaultLoad         = 1.10
	defaultCopies       = 2

	// maxVirtualNodes keeps a mistyped number from stalling every view change:
	// every point is hashed and sorted.
	maxVirtualNodes = 1000
)

// Params are the numbers that place partitions. All members of a cluster must
// use the same ones, or they name different owners for one key; they compare
// the String form when they meet. A zero field stands for its default.
type Params struct {
	// VirtualNodes is the number of points on the hash circle of a member of
	// weight 1, 1 to 1000, default 400. More points: smoother shares, slower
	// New.
	VirtualNodes int

	// Load bounds what a member owns, as a multiple of its share by weight
	// (consistent hashing with bounded loads, Mirrokni, Thorup and
	// Zadimoghaddam 2016). 1 or more, default 1.10. Close to 1 the shares are
	// even, but a member that comes or goes moves partitions of others too.
	Load float64

	// Copies is the number of members that hold a partition, its owner
	// included. 1 or more, default 2. Fewer members than that hold fewer. Where
	// zones count, a partition of two copies may have a third: see Build.
	Copies int
}

// String returns the canonical form, equal for two Params exactly when they
// place alike. It names the number of partitions too, for members must agree
// on that as well.
func (p Params) String() string {
	p = p.withDefaults()
	return fmt.Sprintf("partitions=%d vnodes=%d load=%s copies=%d",
		Partitions, p.VirtualNodes, strconv.FormatFloat(p.Load, 'g', -1, 64), p.Copies)
}

// Given writes the fields that are not zero in the form of String, "" for none.
func (p Params) Given() string {
	var fields []string
	if p.VirtualNodes != 0 {
		fields = append(fields, fmt.Sprintf("vnodes=%d", p.VirtualNodes))
	}
	if p.Load != 0 {
		fields = append(fields, "load="+strconv.FormatFloat(p.Load, 'g', -1, 64))
	}
	if p.Copies != 0 {
		fields = append(fields, fmt.Sprintf("copies=%d", p.Copies))
	}
	return strings.Join(fields, " ")
}

// ParseParams reads what String or Given has written. Fields that are missing are
// zero. Its errors name the field, its value and what is accepted; a number of
// partitions other than Partitions is one.
func ParseParams(text string) (p Params, err error) {
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "partitions":
			if value != strconv.Itoa(Partitions) {
				err = fmt.Errorf("%d are accepted", Partitions)
			}
		case "vnodes":
			p.VirtualNodes, err = strconv.Atoi(value)
		case "load":
			p.Load, err = strconv.ParseFloat(value, 64)
		case "copies":
			p.Copies, err = strconv.Atoi(value)
		default: // of a version to come
		}
		if err != nil {
			return Params{}, fmt.Errorf("parameter %q: %w", field, err)
		}
	}
	if err := p.withDefaults().validate(); err != nil {
		return Params{}, err
	}
	return p, nil
}

func (p Params) withDefaults() Params {
	if p.VirtualNodes == 0 {
		p.VirtualNodes = defaultVirtualNodes
	}
	if p.Load == 0 {
		p.Load = defaultLoad
	}
	if p.Copies == 0 {
		p.Copies = defaultCopies
	}
	return p
}

// validate checks Params whose defaults are filled in. The bound on Load is no
// matter of taste: below 1 the partitions do not fit.
func (p Params) validate() error {
	if p.VirtualNodes < 1 || p.VirtualNodes > maxVirtualNodes {
		return fmt.Errorf("virtual nodes %d: 1 to %d are accepted", p.VirtualNodes, maxVirtualNodes)
	}
	if !(p.Load >= 1) || math.IsInf(p.Load, 0) { // written so that NaN fails too
		return fmt.Errorf("load %v: a finite number of at least 1 is accepted", p.Load)
	}
	if p.Copies < 1 {
		return fmt.Errorf("copies %d: at least 1 is accepted", p.Copies)
	}
	return nil
}
