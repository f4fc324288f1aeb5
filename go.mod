module godax

go 1.26
