module github.com/seed-95a32959/holdfast/adapters/gorilla

go 1.26.0

replace github.com/seed-95a32959/holdfast => ../..

require (
	github.com/gorilla/securecookie v1.1.2
	github.com/gorilla/sessions v1.4.0
	github.com/seed-95a32959/holdfast v0.0.0-00010101000000-000000000000
)

require github.com/cespare/xxhash/v2 v2.3.0 // indirect
