package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
)

// Any member takes it, tells the others, and says who did not hear.
func TestForget(t *testing.T) {
	t.Parallel()
	f, g := newFake(t), newFake(t)
	bob := New(g.config())
	f.links[id("cyd")] = Link{Connected: true}
	f.ask = func(_ context.Context, asked member.ID, typ byte, question []byte) ([]byte, error) {
		if asked != id("bob") || typ != mesh.TypeForget {
			return nil, errNoLink
		}
		return bob.ServeForget(question)
	}
	e := New(f.config())
	for name, c := range map[string]struct {
		here, there  bool // that it is missing is known
		path, detail string
		status       int
	}{
		"known here":       {here: true, path: "?name=dan", status: http.StatusOK},
		"known there":      {there: true, path: "?name=dan", status: http.StatusOK},
		"known everywhere": {here: true, there: true, path: "?name=dan", status: http.StatusOK},
		"known nowhere":    {path: "?name=dan", status: http.StatusConflict, detail: "no such member is missing"},
		"present":          {path: "?name=cyd", status: http.StatusConflict, detail: "holdfast drain"},
		"no name":          {status: http.StatusBadRequest, detail: "the name of a member is accepted"},
		"a bad name":       {path: "?name=a%20b", status: http.StatusBadRequest, detail: "the name of a member is accepted"},
	} {
		for fake, knows := range map[*fake]bool{f: c.here, g: c.there} {
			fake.missing, fake.lost = nil, map[string]int{}
			if knows {
				fake.missing, fake.lost = []census.Missing{{Name: "dan"}}, map[string]int{"dan": 7}
			}
		}
		w := ask(e, "POST", "/admin/forget"+c.path)
		require.Equal(t, c.status, w.Code, name)
		require.Contains(t, w.Body.String(), c.detail, name)
		if c.status == http.StatusOK {
			var a adminapi.Forget
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
			require.Equal(t, adminapi.Forget{Name: "dan", Sessions: 7, Silent: []string{"cyd"}}, a, name)
			require.Empty(t, f.missing, name)
			require.Empty(t, g.lost, name)
		}
	}
	require.Equal(t, http.StatusMethodNotAllowed, ask(e, "GET", "/admin/forget?name=dan").Code)
	_, err := bob.ServeForget([]byte("a b"))
	require.ErrorContains(t, err, "the name of a member is accepted")
}

// A node is ready when every copy is there that can be made, and not only when
// there are as many as were asked for: one node of two would never be.
func TestReadyWithoutAPartner(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.below, f.due = 7, 7
	e := New(f.config())
	w := ask(e, "GET", "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "7 keys lack a copy that can be made")
	f.due = 0
	require.Equal(t, http.StatusOK, ask(e, "GET", "/readyz").Code)
	require.Contains(t, ask(e, "GET", "/admin/stats").Body.String(), `"below_target": 7`)
}
