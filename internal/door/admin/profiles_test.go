package admin

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Profiles are taken one at a time, and none for long.
func TestProfilesAreBounded(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New(newFake(t).config()).Handler())
	defer server.Close()
	get := func(ctx context.Context, path string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/debug/pprof/"+path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	for _, seconds := range []string{"61", "1e9", "0", "-1", "NaN", "x", "+Inf"} {
		for _, path := range []string{"profile", "trace", "heap"} {
			resp, err := get(t.Context(), path+"?seconds="+url.QueryEscape(seconds))
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s %s", path, seconds)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		for ctx.Err() == nil { // a look at the heap, below, may be in its way
			r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/debug/pprof/trace?seconds=60", nil)
			if err != nil {
				return
			}
			if resp, err := http.DefaultClient.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}()
	status := func() int {
		resp, err := get(t.Context(), "heap")
		require.NoError(t, err)
		return resp.StatusCode
	}
	require.Eventually(t, func() bool { return status() == http.StatusConflict }, 15*time.Second, 5*time.Millisecond, "the trace has begun")
	resp, err := get(t.Context(), "cmdline")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "what costs nothing goes on")
	leave()
	<-left
	require.Eventually(t, func() bool { return status() == http.StatusOK }, 15*time.Second, 5*time.Millisecond, "the trace ends with its client")
}
