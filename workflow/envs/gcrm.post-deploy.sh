# Snakemake runs this in the new environment. GCRM_SOURCE is the checkout that the workflow lies in; a
# workflow from elsewhere takes the released package.
python -m pip install --no-deps "${GCRM_SOURCE:-gcrm==0.1.0}"
