package member

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/compattest"
)

func TestMetaOfReleases(t *testing.T) {
	t.Parallel()
	written := make(map[string][]byte)
	for name, m := range map[string]Meta{
		"a node": {
			Role: RoleNode, State: StateReady, Pid: 4711, HTTP: "10.0.0.1:8080", Admin: "10.0.0.1:8081", RESP: "10.0.0.1:8082", Peer: "10.0.0.1:8083",
			Params: "partitions=1024 vnodes=100 load=1.25 copies=2",
		},
		"a node that leaves": {Role: RoleNode, State: StateLeaving, Pid: 1, Zone: "north", AppDown: true, Secret: "abcd", Peer: "[::1]:8083"},
		"a router":           {Role: RoleRouter, State: StateReady, Pid: 2, HTTP: "gate:80"},
	} {
		b, err := m.Encode()
		require.NoError(t, err)
		written[name] = b
	}
	compattest.Run(t, "metadata", written, func(b []byte) (string, error) {
		m, err := DecodeMeta(b)
		return fmt.Sprintf("%s %v pid=%d zone=%q app-down=%t http=%s admin=%s resp=%s peer=%s params=%q secret=%q",
			m.Role, m.State, m.Pid, m.Zone, m.AppDown, m.HTTP, m.Admin, m.RESP, m.Peer, m.Params, m.Secret), err
	})
}
