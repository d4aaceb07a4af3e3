package peer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/compattest"
)

func TestHellosOfReleases(t *testing.T) {
	t.Parallel()
	hello, err := appendHello(nil, Identity{Cluster: "holdfast", Name: "a", Boot: "01", Role: "node", Wire: 6, OldestWire: 6, Params: "partitions=1024 vnodes=100 load=1.25 copies=2"}, Identity{Name: "b", Boot: "02"})
	require.NoError(t, err)
	compattest.Run(t, "hellos", map[string][]byte{"to b": hello}, func(b []byte) (string, error) {
		id, wanted, err := parseHello(b)
		return fmt.Sprintf("%s/%s boot=%s %s wire=%d oldest=%d params=%q to %s boot=%s", id.Cluster, id.Name, id.Boot, id.Role, id.Wire, id.OldestWire, id.Params, wanted.Name, wanted.Boot), err
	})
}
