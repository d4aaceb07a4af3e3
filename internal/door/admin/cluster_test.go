package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/member"
)

// A member that does not answer is shown, with why, and nobody waits longer for
// it than the question may take.
func TestWhoDoesNotAnswerIsShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.ask = func(ctx context.Context, asked member.ID, _ byte, _ []byte) ([]byte, error) {
			if asked == id("bob") {
				<-ctx.Done()
				return nil, fmt.Errorf("call: %w", ctx.Err())
			}
			return nil, errNoLink
		}
		e, begun := New(f.config()), time.Now()
		var a adminapi.Cluster
		require.NoError(t, json.Unmarshal(ask(e, "GET", "/admin/cluster").Body.Bytes(), &a))
		require.Equal(t, clusterTimeout, time.Since(begun))
		said := make(map[string]string)
		for _, m := range a.Members {
			said[m.Name] = m.Error
			require.Equal(t, m.Name == "ada", m.Stats != nil, "%s: only its own figures are known", m.Name)
		}
		require.Equal(t, map[string]string{"ada": "", "bob": "no answer within 500ms", "cyd": "no link", "gate": ""}, said)

		begun = time.Now()
		var k adminapi.Key
		require.NoError(t, json.Unmarshal(ask(e, "GET", "/admin/ring?key=alice").Body.Bytes(), &k))
		require.Equal(t, holdsTimeout, time.Since(begun))
		require.Equal(t, []adminapi.Holding{{Name: "ada", State: "none"}, {Name: "bob", State: "silent"}, {Name: "cyd", State: "silent"}}, k.Holders)
	})
}
