package main

import (
	"fmt"
	"strings"
)

// usersScript makes wrk name a random user in each request.
const usersScript = `
math.randomseed(os.time())
request = function()
  wrk.headers["X-User-ID"] = "user-" .. math.random(1, 100000)
  return wrk.format("GET", "/")
end
`

// nginxConfig is a whole configuration around its servers. Access logs are off,
// as nobody else writes any.
func nginxConfig(workers int, servers string) string {
	return fmt.Sprintf(`daemon off;
pid %s.pid;
worker_processes %d;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
%s}
`, map[int]string{1: "backend", 2: "proxy"}[workers], workers, servers)
}

// backendServers answer with a hundred bytes and their own port.
func (b *bench) backendServers() string {
	var s strings.Builder
	for _, address := range b.backends() {
		fmt.Fprintf(&s, "  server { listen %s; location / { return 200 \"%s %s\\n\"; } }\n", address, address, strings.Repeat("x", 80))
	}
	return s.String()
}

func (b *bench) nginxProxy() string {
	var s strings.Builder
	s.WriteString("  upstream backends {\n    hash $http_x_user_id consistent;\n")
	for _, address := range b.backends() {
		fmt.Fprintf(&s, "    server %s;\n", address)
	}
	s.WriteString("    keepalive 64;\n    keepalive_requests 1000000000;\n  }\n")
	fmt.Fprintf(&s, `  server {
    listen %s;
    location / {
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
    }
  }
`, b.address(5))
	return s.String()
}

func (b *bench) haproxyConfig() string {
	var s strings.Builder
	fmt.Fprintf(&s, `global
  nbthread 2
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind %s
  option forwardfor
  default_backend nodes
backend nodes
  balance hdr(X-User-ID)
  hash-type consistent
`, b.address(4))
	for i, address := range b.backends() {
		fmt.Fprintf(&s, "  server s%d %s\n", i, address)
	}
	return s.String()
}
