package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

func exampleRing() adminapi.Ring {
	r := adminapi.Ring{Fingerprint: "0123456789abcdef", Copies: 2, Members: []adminapi.Member{
		{Name: "node-10", Role: "node", State: "ready", Zone: "b", Weight: 1, Partitions: 271},
		{Name: "router", Role: "router", State: "ready"},
		{Name: "node-2", Role: "node", State: "ready", Zone: "a", Weight: 0.75, Partitions: 342},
		{Name: "node-1", Role: "node", State: "ready", Zone: "a", Weight: 1, Partitions: 411},
		{Name: "node-3", Role: "node", State: "leaving"},
	}}
	r.Partitions = make([]adminapi.Partition, 1024)
	return r
}

func TestWriteRing(t *testing.T) {
	for _, width := range []int{40, 80, 132} {
		var b strings.Builder
		require.NoError(t, writeRing(&b, exampleRing(), look{columns: width}))
		golden(t, fmt.Sprintf("ring-%d.txt", width), b.String())
		_, tableText, _ := strings.Cut(b.String(), "\n\n")
		for line := range strings.Lines(tableText) {
			require.LessOrEqual(t, len([]rune(line))-1, width, line)
		}
	}
	var b strings.Builder
	require.NoError(t, writeRing(&b, adminapi.Ring{Fingerprint: "0", Copies: 1}, look{columns: 80}))
	golden(t, "ring-empty.txt", b.String())
}

func TestWriteKey(t *testing.T) {
	held := adminapi.Key{Key: "alice", Slot: 7638, Partition: 477, Owner: "node-2", Successors: []string{"node-3"}, Fingerprint: "0123456789abcdef",
		Holders: []adminapi.Holding{{Name: "node-1", State: "none"}, {Name: "node-2", State: "live", Version: "0001"}, {Name: "node-3", State: "deleted", Version: "0002"}, {Name: "node-4", State: "silent"}}}
	for name, k := range map[string]adminapi.Key{
		"key-held.txt":  held,
		"key.txt":       {Key: "alice", Slot: 7638, Partition: 477, Owner: "node-2", Successors: []string{"node-3", "node-1"}, Fingerprint: "0123456789abcdef"},
		"key-tag.txt":   {Key: "{alice}:phone", Slot: 7638, Partition: 477, Owner: "node-2", Fingerprint: "0123456789abcdef"},
		"key-empty.txt": {Key: "a\x1b[31m\n", Slot: 1, Partition: 0, Fingerprint: "0"},
	} {
		var b strings.Builder
		require.NoError(t, writeKey(&b, k, look{whole: true}))
		golden(t, name, b.String())
		require.NotContains(t, b.String(), "\x1b")
	}
	held.Key = strings.Repeat("long", 20)
	for columns := 60; columns <= 100; columns++ {
		var b strings.Builder
		require.NoError(t, writeKey(&b, held, look{columns: columns}))
		key, rest, _ := strings.Cut(b.String(), "\n")
		require.Equal(t, "key          "+held.Key, key)
		for line := range strings.Lines(rest) {
			require.LessOrEqual(t, len([]rune(line))-1, columns, line)
		}
		require.Contains(t, strings.Join(strings.Fields(b.String()), " "), "holds a copy, owns the key when node-2 is gone")
		if columns == 80 {
			golden(t, "key-80.txt", b.String())
		}
	}
}

func TestRingCommand(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch key := r.URL.Query().Get("key"); {
		case r.URL.Path != "/admin/ring":
			w.WriteHeader(http.StatusNotFound)
		case key != "":
			json.NewEncoder(w).Encode(adminapi.Key{Key: key, Slot: 1, Owner: "node-1", Fingerprint: "0"})
		default:
			json.NewEncoder(w).Encode(exampleRing())
		}
	}))
	defer server.Close()

	r := holdfast(t, "ring", "-admin", server.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
	golden(t, "ring-80.txt", r.stdout)

	r = holdfast(t, "ring", "-admin", server.URL, "{al&ice}=?:phone")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "{al&ice}=?:phone")

	r = holdfast(t, "ring", "-json", "-admin", server.URL, "alice")
	require.Equal(t, exitOK, r.code, r.stderr)
	var k adminapi.Key
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &k))
	require.Equal(t, "alice", k.Key)
}

// The public address is easily taken for the admin address, and what an
// application answers there may be JSON: it is no healthy, empty cluster.
func TestPublicAddressIsNoMember(t *testing.T) {
	for kind, answer := range map[string]http.HandlerFunc{
		"counter": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"user":"b2","visits":1,"node":"node-1"}`)
		},
		"queue": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"done":true}`)
		},
		"none": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
	} {
		server := httptest.NewServer(answer)
		for _, line := range []string{"status", "status -json", "ring", "ring -json", "ring alice", "ring -json alice", "drain", "drain -force"} {
			r := holdfast(t, append(strings.Fields(line), "-admin", server.URL)...)
			require.Equal(t, exitFailed, r.code, "%s at %s", line, kind)
			require.Empty(t, r.stdout, "%s at %s", line, kind)
			require.Contains(t, r.stderr, "-admin URL takes the admin address, not the public one", "%s at %s", line, kind)
			requireOneLine(t, r.stderr)
		}
		server.Close()
	}
}

func TestAdminFailures(t *testing.T) {
	answers := map[string]func(w http.ResponseWriter){
		"problem": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"title":"not now","detail":"the node is stopping"}`)
		},
		"text":     func(w http.ResponseWriter) { http.Error(w, "nothing here\nmore", http.StatusNotFound) },
		"not JSON": func(w http.ResponseWriter) { fmt.Fprint(w, "<html>hello") },
	}
	says := map[string]string{
		"problem":  "503 Service Unavailable: not now: the node is stopping\n",
		"text":     "404 Not Found: nothing here; -admin URL takes the admin address",
		"not JSON": "does not answer as a member does",
	}
	for name, answer := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
		for _, args := range [][]string{{"ring"}, {"ring", "alice"}, {"ring", "-json"}, {"status"}} {
			r := holdfast(t, append(args, "-admin", server.URL)...)
			require.Equal(t, exitFailed, r.code)
			require.Contains(t, r.stderr, says[name])
			requireOneLine(t, r.stderr)
		}
		server.Close()
		for _, command := range []string{"ring", "status", "drain"} {
			r := holdfast(t, command, "-admin", server.URL)
			require.Equal(t, exitFailed, r.code)
			require.Contains(t, r.stderr, "cannot reach a member at "+server.URL)
			require.Contains(t, r.stderr, "connection refused")
			require.Contains(t, r.stderr, "-admin")
		}
	}
}
