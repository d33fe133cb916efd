// Values of `api.bicep` from the environment: azd's own (`azd env set NAME VALUE`) or the shell's, for plain az.
using './api.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param image = readEnvironmentVariable('SERVICE_API_IMAGE_NAME')
param cpu = readEnvironmentVariable('REPLICA_CPU', '1.0')
param memory = readEnvironmentVariable('REPLICA_MEMORY', '2Gi')
param minReplicas = int(readEnvironmentVariable('MIN_REPLICAS', '0'))
param maxReplicas = int(readEnvironmentVariable('MAX_REPLICAS', '10'))
param scaling = readEnvironmentVariable('SCALING', 'own')
param concurrentRequests = int(readEnvironmentVariable('CONCURRENT_REQUESTS', '20'))
param externalIngress = bool(readEnvironmentVariable('EXTERNAL_INGRESS', 'true'))
param allowedAddresses = json(readEnvironmentVariable('ALLOWED_ADDRESSES', '[]'))
param settings = json(readEnvironmentVariable('INFERENCE_SETTINGS', '{}'))
param callbackSecret = readEnvironmentVariable('CALLBACK_SECRET', '')
param actionGroupId = readEnvironmentVariable('ACTION_GROUP_ID', '')
