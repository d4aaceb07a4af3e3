package ring_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
)

var update = flag.Bool("update", false, "write testdata/golden/tables.txt anew")

// Placement is a wire format: two releases that place partitions differently
// split the cluster during a rolling upgrade. So the tables of some sets of
// members are kept; when this test goes red, either the change was an accident
// or the wire version of the cluster has to be raised along with -update.
func TestPlacementIsThatOfEarlierReleases(t *testing.T) {
	path := filepath.Join("testdata", "golden", "tables.txt")
	var b strings.Builder
	b.WriteString("# members; parameters; fingerprint; xxhash of each partition's holders and first successor\n")
	first := func(copies int) ring.Params { // the defaults of v0.2.0
		return ring.Params{VirtualNodes: 100, Load: 1.25, Copies: copies}
	}
	for _, c := range []struct {
		members []string
		params  ring.Params
	}{
		{nil, first(2)},
		{nodes(1), first(2)},
		{nodes(2), first(2)},
		{nodes(3), first(2)},
		{nodes(3), first(3)},
		{nodes(3), ring.Params{VirtualNodes: 20, Load: 1.1, Copies: 1}},
		{nodes(5), first(4)},
		{nodes(10), first(2)},
		{nodes(25), first(3)},
		{[]string{"berlin.a", "berlin.b", "oslo.a", "oslo.b"}, first(2)},
		{nodes(3), ring.Params{}},
		{nodes(10), ring.Params{}},
		{nodes(25), ring.Params{Copies: 3}},
		// What members state: name*weight@zone.
		{[]string{"a*50", "b", "c*400"}, ring.Params{}},
		{[]string{"a@x", "b@x", "c@y", "d@y"}, ring.Params{}},
		{[]string{"a*10@x", "b*200@y", "c*150@x", "d@z", "e*1000@z", "f@y"}, ring.Params{Copies: 4}},
	} {
		table := buildOf(t, c.params, stated(t, c.members))
		fmt.Fprintf(&b, "%s; %s; %s; %016x\n", strings.Join(c.members, " "), c.params, table.Fingerprint(), hashOf(table))
	}

	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "placement has changed: a cluster of both versions would split")
}

// stated reads members written as name, name*weight, name@zone or both.
func stated(t *testing.T, list []string) (members []ring.Member) {
	for _, text := range list {
		var m ring.Member
		text, m.Zone, _ = strings.Cut(text, "@")
		name, weight, ok := strings.Cut(text, "*")
		if ok {
			var err error
			m.Weight, err = strconv.Atoi(weight)
			require.NoError(t, err)
		}
		m.Name = name
		members = append(members, m)
	}
	return members
}

func hashOf(table *ring.Table) uint64 {
	digest := xxhash.New()
	for p := range ring.Partitions {
		fmt.Fprintf(digest, "%d %q %q\n", p, table.Holders(p), table.FirstSuccessor(p))
	}
	return digest.Sum64()
}
