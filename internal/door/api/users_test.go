package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

// A user with more sessions than can be ended at once is ended page by page, and
// what one page could not confirm is said of the whole.
func TestDeleteAllInManyPages(t *testing.T) {
	for _, unconfirmed := range []int{-1, 0, 1, 2} {
		synctest.Test(t, func(t *testing.T) { // where a slow machine takes no time
			door, node, ids := crowded(t)
			var pages []string
			node.hook = func(op *session.Op) {
				require.Equal(t, session.DeleteAll, op.Kind)
				require.NotContains(t, append(pages, ""), op.NewKey, "all at once, or as the page before")
				if len(pages) == unconfirmed {
					node.next = "unconfirmed"
				}
				pages = append(pages, op.NewKey)
			}
			w := send(door, "DELETE", "/v1/users/alice/sessions", "")
			require.Greater(t, len(pages), 2)
			if unconfirmed < 0 {
				require.Equal(t, http.StatusNoContent, w.Code)
			} else {
				require.Equal(t, http.StatusAccepted, w.Code, "page %d was not confirmed", unconfirmed)
			}
			for _, id := range ids {
				require.True(t, node.store.Peek(id).Dead())
			}
		})
	}
}

// A delete of all that fails or takes too long when some have been ended says
// so, and the next one goes on.
func TestDeleteAllEndsHalfWay(t *testing.T) {
	for name, hinder := range map[string]func(node *oneNode){
		"a page fails":    func(node *oneNode) { node.next = "unavailable" },
		"pages take long": func(*oneNode) { time.Sleep(endAllFor + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				door, node, ids := crowded(t)
				left := func() (n int) {
					for _, id := range ids {
						if rec := node.store.Peek(id); rec == nil || !rec.Dead() {
							n++
						}
					}
					return n
				}
				node.hook = func(op *session.Op) {
					if op.NewKey == session.LaterPage(1) {
						hinder(node)
					}
				}
				w := send(door, "DELETE", "/v1/users/alice/sessions", "")
				require.Equal(t, http.StatusServiceUnavailable, w.Code)
				require.Contains(t, w.Body.String(), "problems/sessions-left")
				require.NotContains(t, w.Body.String(), "nothing was changed")
				require.Equal(t, "1", w.Header().Get("Retry-After"))
				require.Empty(t, w.Header().Get("Holdfast-Retry"), "no other member does better")
				require.NotContains(t, node.log.String(), "alice")
				some := left()
				require.Less(t, some, len(ids))
				require.Positive(t, some)
				node.hook = nil
				w = send(door, "DELETE", "/v1/users/alice/sessions", "")
				require.Equal(t, http.StatusNoContent, w.Code)
				require.Zero(t, left())
			})
		})
	}
}
