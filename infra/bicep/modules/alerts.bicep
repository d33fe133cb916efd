// Two things an operator must hear of: the service fails its callers, or a message failed for good.
param appId string
param appName string
param workspaceId string
param location string
param tags object
param actionGroupId string

resource serverErrors 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${appName}-server-errors'
  location: 'global'
  tags: tags
  properties: {
    description: 'More than 5 replies of 5xx in 5 minutes.'
    enabled: true
    severity: 2
    scopes: [
      appId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'server-errors'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.App/containerApps'
          metricName: 'Requests'
          dimensions: [
            {
              name: 'statusCodeCategory'
              operator: 'Include'
              values: [
                '5xx'
              ]
            }
          ]
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 5
        }
      ]
    }
    actions: empty(actionGroupId) ? [] : [
      {
        actionGroupId: actionGroupId
      }
    ]
  }
}

// The metric QueueMessageCount of a storage account lags by hours, so the host's own warning is watched instead:
// "Message has reached MaxDequeueCount of 5. Moving message to queue '...-poison'."
resource poison 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = {
  name: '${appName}-poison'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${appName}: a message went to a poison queue'
    description: 'A message failed on every delivery. Its items are dead letters with the reason, ready to be replayed.'
    enabled: true
    severity: 2
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT15M'
    // Twice the frequency: a line becomes visible minutes after its time, and a window without overlap has moved on by then.
    windowSize: 'PT30M'
    // The table appears with the first log line, after this rule is made.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: 'ContainerAppConsoleLogs | where ContainerAppName == "${appName}" and Log has "MaxDequeueCount"'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: {
      actionGroups: empty(actionGroupId) ? [] : [
        actionGroupId
      ]
    }
  }
}
