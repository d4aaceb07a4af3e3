package inbound

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/session"
)

// A peer reads past what is longer than its type needs: nothing that a member
// sends may be refused, and nothing of a type that nobody sends be taken.
func TestLimits(t *testing.T) {
	for typ, least := range map[byte]int{
		mesh.TypeBeat: mesh.MaxQuestion, mesh.TypeHolds: session.MaxKey,
		mesh.TypeRequest: mostSession, mesh.TypePublish: mostSession, replication.TypeRecords: mostSession,
	} {
		request, answer := Limits(typ)
		require.GreaterOrEqual(t, request, least, "type %d", typ)
		require.Positive(t, answer, "type %d", typ)
	}
	request, answer := Limits(255)
	require.Zero(t, request)
	require.Zero(t, answer)
}
