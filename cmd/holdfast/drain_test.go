package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDrainCommand(t *testing.T) {
	for _, c := range []struct {
		name, answer, stdout, stderr string
		code                         int
	}{
		{name: "done", code: exitOK,
			answer: `{"partitions":12,"unsynced":340}` + "\n" + `{"partitions":12,"unsynced":340}` + "\n" + `{"partitions":1,"unsynced":2}` + "\n" + `{"done":true,"unsynced":0}` + "\n",
			stdout: "draining: 12 partitions to hand over, 340 unsynced\ndraining: 1 partition to hand over, 2 unsynced\ndrained, unsynced=0\n"},
		{name: "cut off", code: exitFailed,
			answer: `{"partitions":12,"unsynced":340}` + "\n" + `{"part`,
			stdout: "draining: 12 partitions to hand over, 340 unsynced\n",
			stderr: "drain not confirmed, 340 unsynced when last heard: the node stopped answering"},
		{name: "nothing", code: exitFailed, stderr: "drain not confirmed, 0 unsynced"},
		{name: "failed", code: exitFailed, answer: `{"unsynced":3,"error":"no other node is there"}`, stderr: "drain failed with unsynced=3: no other node is there"},
		{name: "garbage", code: exitFailed, answer: `<html>`, stderr: "drain not confirmed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/admin/drain" {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				w.Header().Set("Content-Type", "application/jsonl")
				w.WriteHeader(http.StatusAccepted)
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			r := holdfast(t, "drain", "-admin", server.URL)
			require.Equal(t, c.code, r.code)
			require.Equal(t, c.stdout, r.stdout)
			require.Contains(t, r.stderr, c.stderr)
		})
	}
}

func TestDrainForce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("force") != "1" {
			w.WriteHeader(http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"done":true,"unsynced":0}`)
	}))
	defer server.Close()
	require.Equal(t, exitFailed, holdfast(t, "drain", "-admin", server.URL).code)
	r := holdfast(t, "drain", "-force", "-admin", server.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
}
