# summary.jq - the rows of all coverage points -> summary.json
{schema: "octet-summary/1", points: sort_by(.coverage)}
