package problem_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/problem"
)

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "1")
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", "3")
	problem.Write(w, http.StatusServiceUnavailable, "no-member", "No member is ready", "say \"<hi>\"\xff")

	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	h := w.Result().Header
	require.Equal(t, "application/problem+json", h.Get("Content-Type"))
	require.Equal(t, "1", h.Get("Retry-After"), "set by the caller, and kept")
	require.Equal(t, "no-store", h.Get("Cache-Control"))
	require.Empty(t, h.Get("ETag"), "it was the validator of another body")
	require.Empty(t, h.Get("Content-Encoding"))
	require.Equal(t, strconv.Itoa(w.Body.Len()), h.Get("Content-Length"))

	var got problem.Document
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, problem.Document{
		Type: "https://holdfast.dev/problems/no-member", Title: "No member is ready", Status: 503, Detail: "say \"<hi>\"\uFFFD",
	}, got)
}

func TestWriteLeavesOutAnEmptyDetail(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, http.StatusNotFound, "not-found", "No such session", "")
	require.JSONEq(t, `{"type":"https://holdfast.dev/problems/not-found","title":"No such session","status":404}`, w.Body.String())
}
