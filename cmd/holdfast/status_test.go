package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func exampleStatus() []memberStatus {
	node := func(name string, sessions int) memberStatus {
		s := &statsInfo{Uptime: 3725.5, Fingerprint: "0123456789abcdef", Sessions: sessions, Bytes: int64(sessions) * 700, Lag: 1.26}
		s.Partitions.Owned, s.Partitions.Warm = 512, 512
		return memberStatus{memberInfo: memberInfo{Name: name, Role: "node", State: "ready"}, Stats: s}
	}
	router := memberStatus{memberInfo: memberInfo{Name: "router", Role: "router", State: "ready"},
		Stats: &statsInfo{Uptime: 3.2, Fingerprint: "0123456789abcdef"}}
	return []memberStatus{node("node-1", 1200), node("node-2", 1), router}
}

func TestWriteStatus(t *testing.T) {
	for name, change := range map[string]func([]memberStatus){
		"well":      func([]memberStatus) {},
		"below":     func(m []memberStatus) { m[1].Stats.BelowTarget = 7 },
		"cold":      func(m []memberStatus) { m[0].Stats.Partitions.Cold = 3 },
		"two-rings": func(m []memberStatus) { m[2].Stats.Fingerprint = "fedcba9876543210" },
		"gone":      func(m []memberStatus) { m[0].State, m[0].Stats = "gone", nil },
		"silent":    func(m []memberStatus) { m[1].Stats, m[1].Error = nil, "connection refused" },
	} {
		members := exampleStatus()
		change(members)
		var b strings.Builder
		require.NoError(t, writeStatus(&b, members))
		golden(t, "status-"+name+".txt", b.String())
	}
}

func TestStatusCommandAsksEveryMember(t *testing.T) {
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(v) }
	}
	second := http.NewServeMux()
	second.Handle("/admin/stats", answer(exampleStatus()[1].Stats))
	secondServer := httptest.NewServer(second)
	defer secondServer.Close()

	first := http.NewServeMux()
	firstServer := httptest.NewServer(first)
	defer firstServer.Close()
	first.Handle("/admin/stats", answer(exampleStatus()[0].Stats))
	first.HandleFunc("/admin/members", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `[{"name":"node-3","role":"node","state":"ready","admin":"127.0.0.1:1"},
			{"name":"node-2","role":"node","state":"ready","admin":%q},{"name":"node-1","role":"node","state":"ready","admin":%q}]`,
			secondServer.Listener.Addr(), firstServer.Listener.Addr())
	})

	r := holdfast(t, "status", "-admin", firstServer.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^node-1 .* 1200 .*\n^node-2 .* 1 .*\n^node-3 .* no answer$`, r.stdout)
	require.Contains(t, r.stdout, "1 member did not answer: node-3: cannot reach")

	r = holdfast(t, "status", "-json", "-admin", firstServer.URL)
	require.Equal(t, exitOK, r.code, r.stderr)
	var got struct{ Members []memberStatus }
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	require.Len(t, got.Members, 3)
	require.Equal(t, 1200, got.Members[0].Stats.Sessions)
	require.Nil(t, got.Members[2].Stats)
	require.Contains(t, got.Members[2].Error, "connection refused")
}

func TestByteText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 40: "5.0 TiB", 1 << 60: "1048576.0 TiB"} {
		require.Equal(t, want, byteText(n))
	}
}
