package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

func TestForgetCommand(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/admin/forget" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		switch name := r.URL.Query().Get("name"); name {
		case "node-2":
			_ = json.NewEncoder(w).Encode(adminapi.Forget{Name: name, Sessions: 522, Silent: []string{"node-4"}})
		case "node-3":
			_ = json.NewEncoder(w).Encode(adminapi.Forget{Name: name})
		default:
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]string{"title": "Nothing to forget", "detail": "no such member is missing"})
		}
	}))
	defer server.Close()
	r := holdfast(t, "forget", "-admin", server.URL, "node-2", "node-3")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "node-2 is forgotten, and that about 522 sessions lost with it is known; node-4 did not answer, and will hear of it\nnode-3 is forgotten\n", r.stdout)

	r = holdfast(t, "forget", "-admin", server.URL, "node-9")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "409 Conflict: Nothing to forget: no such member is missing")
	r = holdfast(t, "forget", "-admin", server.URL)
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.stderr, "holdfast forget -h tells more")
}
