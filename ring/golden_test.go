package ring_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
	for _, c := range []struct {
		members []string
		params  ring.Params
	}{
		{nil, ring.Params{}},
		{nodes(1), ring.Params{}},
		{nodes(2), ring.Params{}},
		{nodes(3), ring.Params{}},
		{nodes(3), ring.Params{Copies: 3}},
		{nodes(3), ring.Params{VirtualNodes: 20, Load: 1.1, Copies: 1}},
		{nodes(5), ring.Params{Copies: 4}},
		{nodes(10), ring.Params{}},
		{nodes(25), ring.Params{Copies: 3}},
		{[]string{"berlin.a", "berlin.b", "oslo.a", "oslo.b"}, ring.Params{}},
	} {
		table := build(t, c.params, c.members...)
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

func hashOf(table *ring.Table) uint64 {
	digest := xxhash.New()
	for p := range ring.Partitions {
		fmt.Fprintf(digest, "%d %q %q\n", p, table.Holders(p), table.FirstSuccessor(p))
	}
	return digest.Sum64()
}
