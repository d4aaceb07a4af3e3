package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

// crowded is a door over a node on which a user has as many sessions as fill
// three pages, and their ids in order.
func crowded(t *testing.T) (door http.Handler, node *oneNode, ids []string) {
	door, node = newDoor(t)
	for i := range 40_000 {
		id := fmt.Sprintf("{alice}:%d", i)
		_, err := node.store.Do(&session.Op{Kind: session.Put, Key: id})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return door, node, ids
}

// A user with more sessions than one answer between members can carry is listed
// whole, and each of these answers is a page.
func TestListOfManyPages(t *testing.T) {
	t.Parallel()
	door, node, want := crowded(t)
	pages := 0
	node.hook = func(op *session.Op) {
		require.Equal(t, session.List, op.Kind)
		require.NotEmpty(t, op.NewKey, "all at once")
		pages++
	}
	w := send(door, "GET", "/v1/users/alice/sessions", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "node-1", w.Header().Get("Holdfast-Node"))
	var got listing
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, "alice", got.User)
	var ids []string
	for _, s := range got.Sessions {
		require.NotEmpty(t, s.ETag)
		require.NotNil(t, s.Expires)
		ids = append(ids, s.ID)
	}
	require.Equal(t, want, ids)
	require.Equal(t, 3, pages)

	pages = 0
	w = send(door, "HEAD", "/v1/users/alice/sessions", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Empty(t, w.Body.String())
	require.Equal(t, 1, pages)
}

// Half of a listing is not taken for the whole.
func TestListBreaksOff(t *testing.T) {
	t.Parallel()
	door, node, _ := crowded(t)
	node.hook = func(op *session.Op) {
		if op.NewKey != session.FirstPage {
			node.next = "unavailable"
		}
	}
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { send(door, "GET", "/v1/users/alice/sessions", "") })
	require.NotContains(t, node.log.String(), "alice")
}
